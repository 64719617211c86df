"""The table: numbers, what it says of them, and when the paper's stand beside them."""

import json

import pytest

from dseq_mm.runs import transfer_table
from dseq_mm.tables import TASKS
from dseq_mm.tables.paper import FIGURES
from dseq_mm.utils.stack import installed_versions


def cells(text):
    """The first table of a Markdown text, as dicts."""
    rows = [
        [cell.strip() for cell in line.strip('|').split(' | ')]
        for line in text.split('##')[0].splitlines()
        if line.startswith('|')
    ]
    return [dict(zip(rows[0], row, strict=True)) for row in rows[2:]]


def test_values_mean_and_range(bench):
    _, table = bench.run('linear', seeds=[0, 1, 4], random_init=True)
    row = table['rows'][0]
    assert row['values'] == {'0': 70.0, '1': 72.0, '4': 78.0}
    assert row['mean'] == pytest.approx(220 / 3)
    assert (row['min'], row['max']) == (70.0, 78.0)
    text = (bench.out / 'table.md').read_text()
    shown = cells(text)
    assert [line['start'] for line in shown] == ['checkpoint', 'random weights']
    assert shown[0]['value (seed)'] == '70.00 (0), 72.00 (1), 78.00 (4)'
    assert (shown[0]['mean'], shown[0]['range']) == ('73.33', '70.00 to 78.00')
    assert shown[0]['data set'] == 'DigitScenes'


def test_what_is_written_beside_the_numbers(bench):
    _, table = bench.run('knn,ade20k', options=['ade20k.train_cfg.max_iters=9'])
    assert table['checkpoint'] == dict(
        file='epoch_3.pth',
        sha256='a' * 64,
        encoder='target',
        method='DSeqJEPA',
        architecture='the ViT of DigitScenes at 24 px',
        epoch=3,
        finished=False,
    )
    knn, last4, ade = table['rows']
    assert knn['config'] == last4['config'] == 'dseq_digitscenes_20e'
    assert ade['options'] == ['train_cfg.max_iters=9'] and '; 9 iter' in ade['protocol']
    (run,) = ade['runs']
    assert run['seed'] == 0 and run['folder'] == 'ade20k/seed0'
    assert run['versions'] == dict(python='3.x', dseq_mm='0.0')
    assert run['date'].endswith('+00:00') and len(run['fingerprint']) == 64
    text = (bench.out / 'table.md').read_text()
    for part in (
        'a' * 64, 'DSeq-JEPA', 'target encoder', 'epoch 3', ade['protocol'],
        'upernet_digits_3k', run['date'], '- versions 1: python 3.x, ',
        'train_cfg.max_iters=9', 'dseq_digitscenes_20e', '60.00 (any)',
    ):  # fmt: skip
        assert part in text
    assert '- versions 2' not in text


DSEQ = FIGURES['DSeqJEPA', 'vitb16']
PAPER = {
    'linear': [DSEQ['linear']],
    'inat21': [DSEQ['inat21']],
    'coco': [DSEQ['box'], DSEQ['mask']],
    'knn': [None, None],
}


def test_paper_beside_the_same_method_and_network(bench, make_subject):
    _, table = bench.run(
        'linear,inat21,coco,knn', make_subject(arch='vitb16'), random_init=True
    )  # on one GPU, with the batch of eight by accumulation
    for name, figures in PAPER.items():
        rows = [row for row in table['rows'] if row['task'] == name]
        ours = [r['paper_not_ours'] for r in rows if r['start'] == 'checkpoint']
        assert ours == figures
        assert not any(r['paper_not_ours'] for r in rows if r['start'] != 'checkpoint')
    assert table['paper']['epochs'] == 600 and table['paper']['method'] == 'DSeq-JEPA'
    text = (bench.out / 'table.md').read_text()
    shown = {
        (line['task'], line['metric']): line['paper (not ours)']
        for line in cells(text)
        if line['start'] == 'checkpoint'
    }
    assert shown['coco', 'AP box'] == f'{DSEQ["box"]:.1f}'
    assert shown['coco', 'AP mask'] == f'{DSEQ["mask"]:.1f}'
    assert shown['linear', 'top-1 accuracy'] == f'{DSEQ["linear"]:.1f}'
    assert 'It was not measured here' in text and 'after 600 epochs' in text
    # in JSON too the paper's figures are under a name of their own
    for row in table['rows']:
        assert not {'paper', 'figure'} & row.keys()


@pytest.mark.parametrize(
    ('facts', 'key'),
    [
        (dict(arch='vitb16'), ('DSeqJEPA', 'vitb16')),
        (dict(arch='vitb16', method='IJEPA'), ('IJEPA', 'vitb16')),
        (dict(arch='vitl16'), ('DSeqJEPA', 'vitl16')),
        (dict(arch='vith16-448', method='IJEPA'), ('IJEPA', 'vith16-448')),
        (dict(arch='vitb16', method='MAE', encoder='context'), ('MAE', 'vitb16')),
        (dict(arch='vitl16', method='DSeqCJEPA'), ('DSeqCJEPA', 'vitl16')),
        (dict(arch='vits16', method='CJEPA'), None),
        (dict(arch='vitb16', method='MoCoV3'), None),
        (dict(arch='vitb16', method='DMTJEPA'), None),
        (dict(arch='vitb16', method=None), None),
        (dict(arch='digits'), None),
    ],
)
def test_paper_by_method_and_architecture(make_subject, facts, key):
    record = dict(task='linear', random_init=False, user_options=[], deviations=[])
    (metric,) = TASKS['linear'].metrics
    found, note = transfer_table.paper_figure(make_subject(**facts), record, metric)
    assert found == (FIGURES[key]['linear'] if key else None)
    assert bool(note) == (key is None)
    if facts.get('method', 'x') is None:
        assert 'does not say by which method' in note


def test_paper_and_options(make_subject):
    (metric,) = TASKS['cub'].metrics
    subject = make_subject(arch='vitb16')
    for options, shown in [
        (['train_dataloader.num_workers=2', 'default_hooks.logger.interval=5'], True),
        (['val_dataloader.persistent_workers=False'], True),
        (['train_cfg.max_epochs=1'], False),
        (['train_dataloader.dataset.data_root=tiny'], False),
        (['model.backbone.frozen=False'], False),
        (['train_dataloader.num_workers=2', 'optim_wrapper.optimizer.lr=1'], False),
    ]:
        record = dict(task='cub', random_init=False, user_options=options)
        record['deviations'] = []
        figure, note = transfer_table.paper_figure(subject, record, metric)
        assert figure == (DSEQ['cub'] if shown else None)
        assert shown or options[-1] in note


def test_no_figure_of_the_paper_without_method_or_on_digits(bench, make_subject):
    numbers = [f'{DSEQ[column]:.1f}' for column in ('linear', 'inat21', 'box')]
    for facts, reason in [
        (dict(arch='vitb16', method=None), 'does not say by which method'),
        (dict(arch='digits'), 'DigitScenes is not a data set of the paper'),
    ]:
        bench.out = bench.folder / facts['arch']
        _, table = bench.run('linear,clevr-count', make_subject(**facts))
        text = (bench.out / 'table.md').read_text()
        assert not any(row['paper_not_ours'] for row in table['rows'])
        assert reason in text and text.count(reason) == 1
        assert not any(number in text for number in numbers)
        assert 'It was not measured here' not in text


def test_no_figure_beside_another_batch(bench, make_subject):
    for gpus, figure in ((1, None), (8, DSEQ['miou'])):
        bench.out = bench.folder / f'gpus{gpus}'
        _, table = bench.run('ade20k', make_subject(arch='vitb16'), gpus=gpus)
        (row,) = table['rows']
        assert row['paper_not_ours'] == figure
        text = (bench.out / 'table.md').read_text()
        reason = '- ade20k: batch 2 instead of 16, which is not the protocol of the'
        assert (reason in text) == (figure is None)
        assert (f'{DSEQ["miou"]:.1f}' in text) == (figure is not None)


def test_no_figure_beside_pooled_patch_tokens(bench, make_subject):
    known = FIGURES['IJEPA', 'vitl16']['clevr-dist']
    for token, figure in ((False, None), (True, known)):
        bench.out = bench.folder / f'token{token}'
        subject = make_subject(arch='vitl16', method='IJEPA', class_token=token)
        _, table = bench.run('clevr-dist', subject)
        assert table['rows'][0]['paper_not_ours'] == figure
        reason = 'average-pooled patch tokens instead of the class token, which is not'
        assert (reason in (bench.out / 'table.md').read_text()) == (figure is None)


def test_a_record_that_does_not_say_its_protocol_has_no_figure(make_subject):
    record = dict(task='cub', random_init=False, user_options=[])
    figure, note = transfer_table.paper_figure(
        make_subject(arch='vitb16'), record, TASKS['cub'].metrics[0]
    )
    assert figure is None and 'older version' in note


def test_a_finished_model_is_named(bench, make_subject):
    _, table = bench.run('knn', make_subject(method=None, finished=True))
    text = (bench.out / 'table.md').read_text()
    assert 'finished model, the ViT of' in text and table['checkpoint']['finished']
    assert text.count('- The file is no pre-training checkpoint: with the keys') == 1


@pytest.mark.parametrize(
    ('facts', 'words'),
    [
        (dict(method='MAE', encoder='context'), 'MAE, the ViT of DigitScenes at 24 px, '
         'trained encoder (`backbone`, no EMA), epoch 3'),
        (dict(method='DMTJEPA'), 'DMT-JEPA, the ViT of DigitScenes at 24 px, target'),
        (dict(method='Own', encoder='plain'), 'Own, the ViT of DigitScenes at 24 px, '
         'encoder (the file does not say which)'),
    ],
)  # fmt: skip
def test_any_method_and_its_encoder_are_named(bench, make_subject, facts, words):
    _, table = bench.run('knn', make_subject(**facts))
    assert words in (bench.out / 'table.md').read_text()
    assert table['checkpoint']['method'] == facts['method']
    assert table['paper']['epochs'] is None


def test_paper_has_no_clevr_for_vit_b(bench, make_subject):
    _, table = bench.run('clevr-dist', make_subject(arch='vitb16'))
    assert table['notes'] == ['The paper gives no top-1 accuracy of clevr-dist here.']
    bench.out = bench.folder / 'large'
    _, table = bench.run('clevr-dist', make_subject(arch='vitl16'))
    assert table['rows'][0]['paper_not_ours'] == 71.5 and not table['notes']


def test_a_failure_stands_in_the_table(bench, monkeypatch):
    monkeypatch.setenv('STUB_FAIL', 'randomness.seed=1')
    bench.run('linear', seeds=[0, 1])
    (line,) = cells((bench.out / 'table.md').read_text())
    assert line['value (seed)'] == '70.00 (0), failed (1, see linear/seed1/log.txt)'
    assert line['mean'] == '70.00' and line['range'] == '-'


def test_json_and_markdown_say_the_same(bench):
    _, table = bench.run('knn,coco,clevr-count', seeds=[0, 1])
    assert json.loads((bench.out / 'table.json').read_text()) == table
    assert transfer_table.markdown(table) == (bench.out / 'table.md').read_text()
    for row, line in zip(
        table['rows'], cells(transfer_table.markdown(table)), strict=True
    ):
        assert line['task'] == row['task'] and line['mean'] == f'{row["mean"]:.2f}'


def test_versions():
    versions = installed_versions()
    import mmengine
    import torch

    assert versions['torch'].startswith(torch.__version__)
    assert versions['mmengine'].split()[0] == mmengine.__version__
    assert {'python', 'dseq_mm', 'mmpretrain', 'mmcv'} <= versions.keys()
