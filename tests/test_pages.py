"""What the pages show works: the site is built, configs and snippets are run."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from mmengine.config import Config
from mmpretrain.registry import DATASETS, HOOKS, MODELS

from dseq_mm.cli.own_data import use_data
from dseq_mm.cli.valid_options import check_config
from tests.end_to_end.runs import write_images

ROOT = Path(__file__).resolve().parents[1]


def block(page, beginning):
    """The code of a page that begins so."""
    text = (ROOT / page).read_text()
    blocks = re.findall(r'```python\n(.*?)```', text, re.DOTALL)
    (found,) = [code for code in blocks if code.startswith(beginning)]
    return found


def test_the_site_is_built_without_a_warning(tmp_path):
    pytest.importorskip('mkdocs')
    command = [sys.executable, '-m', 'mkdocs', 'build', '--strict', '--site-dir']
    result = subprocess.run(
        [*command, str(tmp_path / 'site')], cwd=ROOT, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr[-3000:]
    pages = {path.parent.name for path in (tmp_path / 'site').rglob('index.html')}
    assert {'log', 'own_data', 'dseq-jepa', 'troubleshooting'} <= pages
    log = (tmp_path / 'site/log/index.html').read_text()
    assert 'log.png' in log and 'href="../../' not in log  # nothing leads out


@pytest.mark.parametrize(
    ('page', 'lines', 'regions', 'size'),
    [('README.md', 10, 4, 224), ('docs/own_config.md', 15, 3, 96)],
)
def test_a_config_of_ones_own(tmp_path, page, lines, regions, size):
    code = block(page, '# my_jepa.py')
    assert len(code.splitlines()) <= lines
    images = write_images(tmp_path / 'images', count=4, size=240)
    (tmp_path / 'my_jepa.py').write_text(code.replace('/my/images', str(images)))
    cfg = Config.fromfile(tmp_path / 'my_jepa.py')
    use_data(cfg, [str(images)])
    check_config(cfg)
    model = MODELS.build(cfg.model)
    assert model.mask_generator.rule.num_regions == regions
    assert tuple(model.backbone.img_size) == (size, size)
    dataset = DATASETS.build(cfg.train_dataloader.dataset)
    assert dataset[0]['inputs'].shape[-2:] == (size, size)
    assert cfg.train_dataloader.batch_size == 128 and cfg.train_cfg.max_epochs == 300
    for hook in cfg.get('custom_hooks') or []:
        assert hook.type == 'KNNHook' or HOOKS.build(hook)


def test_hooks_of_the_log_page():
    scope = {}
    exec(block('docs/log.md', 'custom_hooks'), scope)
    for hook in scope['custom_hooks']:
        assert HOOKS.build(hook)
    exec(block('docs/log.md', 'visualizer'), scope)
    kinds = [backend['type'] for backend in scope['visualizer']['vis_backends']]
    assert kinds[0] == 'LocalVisBackend' and len(kinds) == 4


def test_pictures_of_the_page(tmp_path, monkeypatch):
    import torch

    from tests.transfer.conftest import build_vit

    monkeypatch.chdir(tmp_path)
    write_images(tmp_path / 'photos', count=3, size=60)
    meta = dict(architecture=dict(grid=[4, 4], num_heads=2))
    state = build_vit(seed=3).state_dict()
    torch.save(dict(state_dict=state, meta=meta), 'epoch_20.pth')
    exec(block('docs/pictures.md', 'from dseq_mm.evaluation'), {})
    assert (tmp_path / 'regions.png').stat().st_size > 10_000
