"""What is planned, what is checked before anything runs, and the fingerprints."""

import json
import shutil

import pytest

from dseq_mm.runs import Plan, plan_transfer
from dseq_mm.utils import configs

LIBRARIES = ('mmdet', 'mmseg')


def test_plan(bench):
    runs = bench.plan('linear,knn', seeds=[0, 2], random_init=True)
    folders = [str(run.folder.relative_to(bench.out)) for run in runs]
    assert folders == [
        'knn/once', 'knn/random-seed0', 'knn/random-seed2',
        'linear/seed0', 'linear/seed2', 'linear/random-seed0', 'linear/random-seed2',
    ]  # fmt: skip
    assert [run.seed for run in runs] == [None, 0, 2, 0, 2, 0, 2]
    for run in runs:
        assert run.checkpoint == (None if run.facts['random_init'] else 'a' * 64)
        assert run.facts['dataset'] == 'DigitScenes'
    assert not bench.out.exists()


def test_the_fingerprint_depends_on_all_that_matters(bench, make_subject):
    def fingerprints(**settings):
        subject = settings.pop('subject', None)
        runs = bench.plan('linear', subject, seeds=[0], random_init=True, **settings)
        return [run.fingerprint for run in runs]

    base = fingerprints()
    assert fingerprints() == base and len(set(base)) == 2
    assert fingerprints(options=['knn.a=1']) == base
    seen = list(base)
    for change in (
        dict(options=['linear.train_cfg.max_epochs=2']),
        dict(options=['linear.optim_wrapper.optimizer.lr=0.1']),
        dict(gpus=2),
        dict(subject=make_subject(class_token=False)),
    ):
        seen += fingerprints(**change)
    assert len(set(seen)) == len(seen)
    # another file, the same network: only the runs that start from it differ
    other = fingerprints(subject=make_subject(sha256='b' * 64))
    assert other[0] != base[0] and other[1] == base[1]
    assert bench.plan('linear', seeds=[1])[0].fingerprint not in seen


def test_knn_is_the_same_on_any_number_of_gpus(bench):
    one, two = (bench.plan('knn', gpus=gpus)[0].fingerprint for gpus in (1, 2))
    assert one == two


def test_all_data_are_checked_first(bench, workplace, make_subject):
    shutil.rmtree(workplace / 'data' / 'coco')
    shutil.rmtree(workplace / 'data' / 'inat21')
    subject = make_subject(arch='vitb16')
    with pytest.raises(ValueError) as error:
        bench.plan('linear,inat21,coco,cub', subject)
    text = str(error.value)
    assert 'coco: there is no folder data/coco' in text and 'check_data.py coco' in text
    assert 'inat21: there is no folder' in text and 'check_data.py inat21' in text
    assert 'linear' not in text and 'cub' not in text
    shutil.rmtree(workplace / 'data' / 'digitscenes')
    with pytest.raises(ValueError, match='make_digitscenes.*check_data.py digitscenes'):
        bench.plan('clevr-count')
    # an option may lead elsewhere
    (workplace / 'here').mkdir()
    bench.plan(
        'clevr-count',
        options=[
            f'clevr-count.{split}_dataloader.dataset.data_root=here'
            for split in ('train', 'val', 'test')
        ],
    )


def test_another_checkpoint_or_protocol_needs_another_folder(bench, make_subject):
    bench.run('linear', seeds=[0])
    before = {p: p.read_bytes() for p in bench.out.rglob('*') if p.is_file()}
    option = ['linear.train_cfg.max_epochs=2']
    for seeds in ([0], [1]):  # a mean over two protocols would be wrong, too
        with pytest.raises(ValueError, match='other options.*(?s:.)*another --out'):
            bench.plan('linear', seeds=seeds, options=option)
    with pytest.raises(ValueError, match='another checkpoint.*another --out'):
        bench.plan('knn', make_subject(sha256='b' * 64))
    bench.plan('knn', options=option)
    assert before == {p: p.read_bytes() for p in bench.out.rglob('*') if p.is_file()}


def test_results_on_another_build_are_not_taken(bench, workplace):
    bench.run('linear,coco')
    result = json.loads((bench.out / 'linear/seed0/result.json').read_text())
    (root,) = result['data']
    assert root == str(workplace / 'data' / 'digitscenes')
    path = workplace / 'data' / 'digitscenes' / 'digitscenes.json'
    text = path.read_text()
    for old, new in (('dd', 'ee'), ('"seed": 0', '"seed": 1')):
        path.write_text(text.replace(old, new))
        for task in ('linear', 'coco'):
            with pytest.raises(ValueError, match='made with other data.*another --out'):
                bench.plan(task, seeds=[0, 1])
    path.write_text(text)
    bench.plan('linear,coco', seeds=[0, 1])


def test_tasks_whose_library_is_missing(bench, monkeypatch):
    monkeypatch.setattr(configs, '_lacking', lambda n: n if n in LIBRARIES else '')
    for tasks in ('linear,coco', 'all,coco'):
        with pytest.raises(ValueError, match='coco: mask-rcnn.*mmdet.*dseq_mm.doctor'):
            bench.plan(tasks)
    plan = Plan(bench.subject, bench.out, bench.folder)
    runs, notes = plan_transfer(plan, 'all')
    planned = {run.facts['task'] for run in runs}
    assert planned == {'knn', 'linear', 'finetune', 'clevr-count', 'clevr-dist'}
    left = [note for note in notes if 'dseq_mm.doctor' in note]
    assert [note.split()[2] for note in left] == ['coco:', 'ade20k:']
    assert '(mmdet, mmseg)' in left[0] and '(mmseg)' in left[1]
    # other mistakes still stop 'all'
    with pytest.raises(ValueError, match='does not take an option'):
        bench.plan('all', options=['linear.train_dataloader.dataset.pipeline.77.a=3'])


def test_annotations_are_checked_before_anything_runs(bench, workplace):
    (workplace / 'data/digitscenes/scenes/annotations/instances_val.json').unlink()
    with pytest.raises(ValueError, match='coco: there is no file of annotations data'):
        bench.plan('linear,coco')


def test_nothing_else_is_overwritten(bench):
    theirs = bench.out / 'linear' / 'seed0' / 'thesis.txt'
    theirs.parent.mkdir(parents=True)
    bench.plan('linear')
    theirs.touch()
    with pytest.raises(ValueError, match='seed0 is something else'):
        bench.plan('linear')
    bench.plan('linear', seeds=[1])
    (bench.out / 'table.md').write_text('mine')
    with pytest.raises(ValueError, match='table.md is something else'):
        bench.plan('linear', seeds=[1])


def test_a_result_that_was_changed_is_not_taken(bench):
    bench.run('linear')
    path = bench.out / 'linear' / 'seed0' / 'result.json'
    result = json.loads(path.read_text())
    path.write_text(json.dumps(result | dict(fingerprint='0')))
    with pytest.raises(ValueError, match='another --out'):
        bench.plan('linear')
    path.write_text('{"half')
    with pytest.raises(ValueError, match='result.json is damaged'):
        bench.plan('linear')
