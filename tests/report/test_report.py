"""The report says what the files of a training say, in one file."""

import base64
import json
import re
from html import unescape
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config

from dseq_mm.report import write_report
from dseq_mm.report.collect import collect
from tests.models.builders import build_jepa, jepa_config

PIXELS = dict(
    type='SelfSupDataPreprocessor', mean=[120.0] * 3, std=[60.0] * 3, to_rgb=True
)
ALARM = 'Alarm at iteration 50: target_std is 0.01 (below 0.1): it has collapsed <now>.'
LOG = f"""2026/01/02 10:00:00 - mmengine - INFO -
{'-' * 60}
System environment:
    Python: 3.11.7
    GPU 0: a card
{'-' * 60}

2026/01/02 10:00:01 - mmengine - WARNING - something odd
2026/01/02 11:00:01 - mmengine - WARNING - something odd
2026/01/02 11:30:00 - mmengine - WARNING - {ALARM}
"""


@pytest.fixture
def work_dir(tmp_path):
    """A training of two runs, of two processes, resumed once."""
    folder = tmp_path / 'my_run'
    for name in ('20260102_100000', '20260103_100000'):
        (folder / name / 'vis_data').mkdir(parents=True)
    first, second = folder / '20260102_100000', folder / '20260103_100000'
    (first / 'x.log').write_text(LOG)
    (second / 'x.log').write_text(
        '2026/01/03 10:00:00 - mmengine - INFO - on\n'
        '2026/01/03 10:30:00 - mmengine - INFO - end\n'
    )
    rows = [dict(loss=1.0 / (i + 1), memory=2048, iter=i, step=i) for i in range(5)]
    rows.append(dict(knn_last=42.5, step=1))
    text = ''.join(json.dumps(row) + '\n' for row in rows)
    (first / 'vis_data/scalars.json').write_text(text)
    (folder / 'photos').mkdir()
    random = np.random.default_rng(0)
    for number in range(3):
        image = random.integers(0, 256, (24, 32, 3), np.uint8)
        cv2.imwrite(f'{folder}/photos/{number}.png', image)
    dataset = dict(type='KeyedDataset', dataset=dict(data_root=f'{folder}/photos'))
    config = Config(
        dict(
            model=jepa_config(data_preprocessor=PIXELS),
            train_dataloader=dict(dataset=dataset),
        )
    )
    model = build_jepa(data_preprocessor=PIXELS)
    run = dict(processes=2, batch_size=4, accumulation=1, global_batch=8, max_epochs=10)
    run |= dict(seed=7, files=dict(number=1234), versions=dict(torch='2.11'))
    meta = dict(cfg=config.pretty_text, epoch=9, run=run)
    torch.save(dict(state_dict=model.state_dict(), meta=meta), folder / 'epoch_9.pth')
    torch.save(dict(state_dict={}, meta={}), folder / 'epoch_10_old.txt')
    (folder / 'knn.json').write_text('{"knn_last": 55.5}')
    (folder / 'other.json').write_text('{"a": [1]}')
    (folder / 'transfer').mkdir()
    (folder / 'transfer/table.md').write_text(
        '| task | ours |\n|---|---|\n| a<b | 9 |\n'
    )
    return folder


def test_what_the_files_tell(work_dir):
    found = collect(work_dir)
    facts, cost = dict(found.facts), dict(found.cost)
    assert facts['method'] == 'DSeqJEPA' and facts['training images'] == '1,234'
    assert facts['epochs'] == '9 of 10' and facts['seed'] == 7
    assert '8 (processes: 2' in facts['images per step']
    assert '2 layers of 16 channels' in facts['backbone']
    # an hour and a half, and half an hour, by two processes
    assert cost['hours from first to last line of the logs'] == '2.00'
    assert cost['device hours'] == '4.00' and cost['peak memory'] == '2.0 GiB'
    assert found.alarms == [ALARM] and found.warnings == ['something odd']
    assert found.measured == [(1, dict(knn_last=42.5))]
    assert found.files == {'knn.json': {'knn_last': 55.5}}
    assert 'GPU 0: a card' in found.environment
    assert [path.name for path in found.checkpoints] == ['epoch_9.pth']


def test_the_page(work_dir):
    path = write_report(work_dir, number=2)
    assert path == work_dir / 'report.html'
    page = path.read_text()
    assert unescape(page).count(ALARM) == 1 and '<now>' not in page  # escaped
    assert '<td>a&lt;b</td>' in page.replace(' style="text-align: left;"', '')
    assert '42.5' in page and '55.5' in page and 'GFLOP of a training step' in page
    # nothing is fetched
    sources = re.findall(r'(?:src|srcset|href)="([^"]+)"', page)
    assert all(source.startswith(('data:', '#')) for source in sources)
    # curves, and five pages, each for light and for dark
    pictures = [source for source in sources if source.startswith('data:image/')]
    assert len(pictures) == 12 and len(set(pictures)) == 12
    for source in pictures:
        content = base64.b64decode(source.partition(',')[2])
        if source.startswith('data:image/png'):
            image = cv2.imdecode(np.frombuffer(content, np.uint8), -1)
            assert image.std() > 5
        else:
            assert b'</svg>' in content


def test_less_is_there(work_dir):
    (work_dir / 'epoch_9.pth').unlink()
    page = write_report(work_dir, work_dir / 'x.html').read_text()
    assert 'There is no checkpoint' in page and ALARM[:20] in page
    (work_dir / '20260102_100000/x.log').unlink()
    page = write_report(work_dir).read_text()
    assert '<p class="fine">None.</p>' in page


def test_images_that_are_gone_or_asked_for(work_dir, tmp_path):
    (work_dir / 'photos').rename(tmp_path / 'elsewhere')
    page = write_report(work_dir).read_text()
    assert 'The images are not where they were' in page
    page = write_report(
        work_dir, images=[f'{tmp_path}/elsewhere'], number=1
    ).read_text()
    assert 'Where it looks' in page
    with pytest.raises(ValueError, match='nowhere'):
        write_report(work_dir, images=[f'{tmp_path}/nowhere'])


def test_no_training(tmp_path):
    with pytest.raises(FileNotFoundError, match='no such folder'):
        write_report(tmp_path / 'no')
    with pytest.raises(ValueError, match='no scalars.json'):
        write_report(tmp_path)


def test_the_template_is_installed():
    import dseq_mm.report

    assert (Path(dseq_mm.report.__file__).parent / 'report.html').is_file()
