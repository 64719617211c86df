"""--resume and --insist: which checkpoint, or why none."""

import pytest
import torch
from mmengine.config import Config

from dseq_mm.cli.resume import check_file, set_resume


def make_config(tmp_path, **settings):
    hooks = dict(strict=dict(type='StrictCheckpointHook'))
    return Config(dict(work_dir=str(tmp_path / 'run'), default_hooks=hooks, **settings))


def write(path, epoch):
    """The least that a trainer's checkpoint has."""
    path.parent.mkdir(exist_ok=True)
    meta = dict(epoch=epoch, iter=epoch, time=f'20260101_00000{epoch}')
    torch.save(dict(meta=meta, state_dict={}, optimizer={}, message_hub={}), path)
    return path


def test_without_it_nothing_changes(tmp_path):
    cfg = make_config(tmp_path)
    assert set_resume(cfg, None) == [] and 'resume' not in cfg


@pytest.mark.parametrize('resume', ['newest', 'auto'])
def test_the_newest_whole_one_is_taken_and_told(tmp_path, resume):
    cfg = make_config(tmp_path)
    write(tmp_path / 'run' / 'epoch_1.pth', 1)
    damaged = write(tmp_path / 'run' / 'epoch_2.pth', 2)
    damaged.write_bytes(damaged.read_bytes()[:-30])
    notes = '\n'.join(set_resume(cfg, resume))
    assert cfg.resume is True and cfg.load_from.endswith('epoch_1.pth')
    assert 'epoch_2.pth is damaged' in notes and 'goes on from' in notes


def test_nothing_to_resume(tmp_path):
    """A misspelt work dir must not start a training anew; a first start may."""
    with pytest.raises(ValueError, match='no whole checkpoint in .*Check --work-dir'):
        set_resume(make_config(tmp_path), 'newest')
    cfg = make_config(tmp_path)
    (note,) = [n for n in set_resume(cfg, 'auto') if 'starts anew' in n]
    assert cfg.resume is False and cfg.get('load_from') is None


def test_a_config_that_resumes_takes_the_newest_too(tmp_path):
    """The host would follow the path in last_checkpoint wherever it leads."""
    cfg = make_config(tmp_path, resume=True)
    path = write(tmp_path / 'run' / 'epoch_1.pth', 1)
    (path.parent / 'last_checkpoint').write_text('/elsewhere/epoch_9.pth')
    set_resume(cfg, None)
    assert cfg.load_from == str(path)


def test_a_path_is_taken_as_it_is(tmp_path):
    path = write(tmp_path / 'x.pth', 1)
    cfg = make_config(tmp_path)
    set_resume(cfg, str(path))
    assert cfg.resume is True and cfg.load_from == str(path)
    with pytest.raises(ValueError, match='no checkpoint'):
        set_resume(make_config(tmp_path), str(tmp_path / 'none.pth'))
    with pytest.raises(ValueError, match='There is no checkpoint none.pth. Why'):
        check_file('none.pth', 'Why')


def test_checkpoints_elsewhere_are_found(tmp_path):
    cfg = make_config(tmp_path)
    cfg.default_hooks.checkpoint = dict(out_dir=str(tmp_path / 'store'))
    (tmp_path / 'store').mkdir()
    path = write(tmp_path / 'store' / 'run' / 'epoch_1.pth', 1)
    set_resume(cfg, 'newest')
    assert cfg.load_from == str(path)


def test_load_from_and_resume_contradict(tmp_path):
    for resume in ('newest', 'epoch_1.pth'):
        with pytest.raises(ValueError, match='no meaning'):
            set_resume(make_config(tmp_path, load_from='weights.pth'), resume)


def test_a_run_from_weights_can_be_queued_again(tmp_path):
    """The first time it starts from them, later from its own checkpoint."""
    cfg = make_config(tmp_path, load_from='weights.pth')
    set_resume(cfg, 'auto')
    assert (cfg.resume, cfg.load_from) == (False, 'weights.pth')
    path = write(tmp_path / 'run' / 'epoch_1.pth', 1)
    set_resume(cfg, 'auto')
    assert (cfg.resume, cfg.load_from) == (True, str(path))


def test_insist(tmp_path):
    with pytest.raises(ValueError, match='--insist is for --resume'):
        set_resume(make_config(tmp_path), None, insist=True)
    path = write(tmp_path / 'x.pth', 1)
    cfg = make_config(tmp_path)
    set_resume(cfg, str(path), insist=True)
    assert cfg.default_hooks.strict.insist is True
    cfg = make_config(tmp_path, custom_hooks=[cfg.default_hooks.strict])
    cfg.default_hooks = {}
    set_resume(cfg, str(path), insist=True)
    assert cfg.custom_hooks[0].insist is True
    cfg.custom_hooks, cfg.load_from = [], None
    with pytest.raises(ValueError, match='compares nothing'):
        set_resume(cfg, str(path), insist=True)
