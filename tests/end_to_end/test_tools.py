"""The commands of the README, on a miniature of each data layout."""

import json
import os
import re
import subprocess
from pathlib import Path

import cv2
import pytest
import torch
from mmpretrain.models.backbones import VisionTransformer

from dseq_mm.transfer.checkpoint import load_checkpoint
from tests.end_to_end.runs import CONFIGS, run_tool, write_images
from tests.quick_python import EXECUTABLE

SMALL = [
    'train_cfg.max_epochs=2',
    'param_scheduler.1.T_max=1',
    'param_scheduler.1.end=2',
    'param_scheduler.2.T_max=2',
    'param_scheduler.2.end=2',
    'train_dataloader.num_workers=0',
    'train_dataloader.persistent_workers=False',
    'default_hooks.logger.interval=1',
    'default_hooks.checkpoint.interval=1',
]


def program(tool, *arguments):
    """Run a tool in a process of its own: nothing is imported or registered yet."""
    command = [EXECUTABLE, f'tools/{tool}.py', *map(str, arguments)]
    run = dict(cwd=CONFIGS.parent, capture_output=True, text=True)
    result = subprocess.run(command, **run)
    assert result.returncode == 0, result.stderr[-3000:]


@pytest.fixture(scope='module')
def digits(tmp_path_factory):
    """A small DigitScenes and a run of two epochs on it by two gloo processes."""
    folder = tmp_path_factory.mktemp('digits')
    data = folder / 'data'
    options = ['--train', 64, '--val', 32, '--scenes-train', 2, '--scenes-val', 2]
    program('make_digitscenes', data, *options)
    roots = [
        f'{key}.data_root={data}'
        for key in (
            'train_dataloader.dataset.dataset',
            'custom_hooks.0.bank.dataset',
            'custom_hooks.0.query.dataset',
        )
    ]
    config = str(CONFIGS / 'dseq_digitscenes_20e.py')
    node = start_node(2, config, folder / 'run', roots, PORT='29711')
    output, _ = node.communicate()
    assert node.returncode == 0, output[-3000:]
    return config, folder / 'run', roots, output


def start_node(processes, config, work, options, resume=(), **environment):
    """Start a training of two epochs; its output goes to the pipe."""
    path = f'{Path(EXECUTABLE).parent}:{os.environ["PATH"]}'
    command = ['bash', 'tools/dist_train.sh', config, str(processes)]
    command += ['--work-dir', str(work), *map(str, resume), '--cfg-options', *SMALL]
    return subprocess.Popen(
        [*command, 'train_dataloader.batch_size=8', *options],
        cwd=CONFIGS.parent,
        env=dict(os.environ, PATH=path, **environment),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_two_gloo_processes_train_and_measure(digits):
    _, work, _, output = digits
    assert 'knn_last' in output
    assert (work / 'epoch_2.pth').exists()
    steps = load_checkpoint(work / 'epoch_2.pth')['state_dict']['target_encoder.steps']
    assert steps == 2 * (64 // 16)


def test_two_nodes_train_as_two_processes_of_one_node_do(digits, tmp_path):
    config, one_node, roots, _ = digits
    work = tmp_path / 'run'  # on a file system that both nodes see
    together = dict(NNODES='2', MASTER_ADDR='127.0.0.1', PORT='29713')
    nodes = [
        start_node(1, config, work, roots, NODE_RANK=str(rank), **together)
        for rank in range(2)
    ]
    outputs = [node.communicate()[0] for node in nodes]
    assert [node.returncode for node in nodes] == [0, 0], outputs
    assert ['knn_last' in output for output in outputs] == [True, False]
    same(one_node / 'epoch_2.pth', work / 'epoch_2.pth')


def same(first, second):
    """Weights and moments of two files are equal to the bit."""
    expected, found = load_checkpoint(first), load_checkpoint(second)
    moments = [x['optimizer']['state'] for x in (expected, found)]
    assert moments[0].keys() == moments[1].keys() and len(moments[0]) > 20
    pairs = [(expected['state_dict'], found['state_dict'])]
    pairs += [(moments[0][number], moments[1][number]) for number in moments[0]]
    for one, other in pairs:
        assert one.keys() == other.keys()
        for name, value in one.items():
            assert torch.equal(value, other[name]), name


def test_sharded_and_whole_models_go_on_from_each_others_checkpoints(digits, tmp_path):
    config, whole, roots, output = digits
    sharded = [*roots, 'model_wrapper_cfg.type=FullySharded']
    runs = {
        'sharded': (sharded, []),
        'whole from sharded': (roots, tmp_path / 'sharded'),
        'sharded from whole': (sharded, whole),
    }
    for name, (options, start) in runs.items():
        resume = ['--resume', start / 'epoch_1.pth'] if start else []
        node = start_node(2, config, tmp_path / name, options, resume, PORT='29712')
        printed, _ = node.communicate()
        assert node.returncode == 0, printed[-3000:]
        for epoch in (2,) if start else (1, 2):
            same(whole / f'epoch_{epoch}.pth', tmp_path / name / f'epoch_{epoch}.pth')
        measured = re.findall('Epoch 2: (.*knn_last .*)', printed)
        assert measured == re.findall('Epoch 2: (.*knn_last .*)', output) != []


def test_knn_tool_agrees_with_the_test_tool(digits, tmp_path):
    config, work, roots, _ = digits
    out = tmp_path / 'knn.json'
    arguments = [config, work / 'epoch_2.pth', '--out', out, '--cfg-options', *roots]
    run_tool('knn', *arguments)
    values = json.loads(out.read_text())
    assert 0 <= values['knn_last'] <= 100
    arguments = ['--work-dir', tmp_path / 'test', '--cfg-options', *roots]
    run_tool('test', config, work / 'epoch_2.pth', *arguments)
    assert json.loads((tmp_path / 'test' / 'knn.json').read_text()) == values


def test_export_loads_into_the_stock_vit(digits, tmp_path):
    _, work, _, _ = digits
    out = tmp_path / 'backbone.pth'
    program('export_backbone', work / 'epoch_2.pth', out)
    saved = torch.load(out, weights_only=True)
    arch = dict(embed_dims=96, num_layers=4, num_heads=3, feedforward_channels=192)
    vit = VisionTransformer(arch=arch, img_size=24, patch_size=4, out_type='raw')
    vit.load_state_dict(saved['state_dict'])
    state = load_checkpoint(work / 'epoch_2.pth')['state_dict']
    assert torch.equal(state['target_encoder.module.cls_token'], vit.cls_token)
    assert not torch.equal(state['backbone.cls_token'], vit.cls_token)


def test_picture_of_regions_is_drawn(digits, tmp_path):
    config, work, roots, _ = digits
    out = tmp_path / 'regions.png'
    options = ['--num', 3, '--cfg-options', *roots]
    program('visualize_regions', config, work / 'epoch_2.pth', out, *options)
    picture = cv2.imread(str(out))
    assert picture.shape[0] > 600 and picture.std() > 10


@pytest.mark.parametrize(
    'kind', ['regions', 'steps', 'attention', 'neighbors', 'map', 'loss', 'curves']
)
def test_pictures_of_a_run(digits, tmp_path, kind, capsys):
    _, work, _, _ = digits
    images = write_images(tmp_path / 'own', count=9, size=40)
    out = tmp_path / 'x/page.png'
    options = ['--images', images, '--num', 4, '--neighbors', 3, '--out', out]
    files = [work / f'epoch_{epoch}.pth' for epoch in (1, 2)]
    files = files if kind in ('regions', 'loss') else files[1:]
    if kind == 'curves':
        files, options = [work], ['--out', out]
    run_tool('visualize', kind, *files, *options)
    assert cv2.imread(str(out)).std() > 10
    printed = capsys.readouterr().out
    assert str(out) in printed
    assert (kind == 'loss') == ('epoch_2 R2 0.' in printed)


def test_saliency_against_masks(digits, tmp_path, capsys):
    _, work, roots, _ = digits
    data = Path(roots[0].partition('=')[2])
    options = ['--images', data / 'digits/val', '--masks', data / 'digit_masks/val']
    options += ['--num', 8, '--out', tmp_path / 'table.md']
    options += ['--picture', tmp_path / 'x.png']
    run_tool('saliency', work / 'epoch_2.pth', *options)
    printed = capsys.readouterr().out
    table = (tmp_path / 'table.md').read_text()
    assert table.rstrip() in printed and 'Best by AUC: ' in printed
    rows = table.splitlines()[2:]
    assert len(rows) == 4 * 4 + 1 and 'GradCAM' in rows[-1]
    assert cv2.imread(f'{tmp_path}/x.png').std() > 10


def test_a_file_in_ijepas_layout_gives_the_same_picture(digits, tmp_path):
    config, work, roots, _ = digits
    official = tmp_path / 'official.pth.tar'
    run_tool('convert_checkpoint', work / 'epoch_2.pth', official, '--layout', 'ijepa')
    pictures = []
    for number, file in enumerate((work / 'epoch_2.pth', official)):
        out = tmp_path / f'{number}.png'
        options = ['--num', 2, '--cfg-options', *roots]
        run_tool('visualize_regions', config, file, out, *options)
        pictures.append(cv2.imread(str(out)))
    assert (pictures[0] == pictures[1]).all()


def test_picture_of_images_of_ones_own(digits, tmp_path):
    config, work, roots, _ = digits
    write_images(tmp_path / 'own', count=3, size=40)
    out = tmp_path / 'own.png'
    options = ['--data', tmp_path / 'own', '--num', 2, '--cfg-options', *roots]
    run_tool('visualize_regions', config, work / 'epoch_2.pth', out, *options)
    assert cv2.imread(str(out)).std() > 10


def test_picture_needs_regions(digits, tmp_path):
    _, work, roots, _ = digits
    with pytest.raises(ValueError, match='has no regions to draw'):
        config = CONFIGS / 'ijepa_digitscenes_20e.py'
        run_tool('visualize_regions', config, work / 'epoch_2.pth', tmp_path / 'x.png')


@pytest.mark.parametrize('source', ['imagenet', 'folder'])
def test_imagenet_config_trains_on_its_layout_and_on_a_folder(tmp_path, source):
    small = [
        'model.backbone.img_size=64',
        'model.backbone.arch=deit-tiny',
        'train_dataloader.batch_size=2',
        'train_dataloader.pin_memory=False',
        'optim_wrapper.dtype=None',
        'param_scheduler.0.end=1',
        'param_scheduler.1.begin=1',
        'train_dataloader.dataset.dataset.pipeline.1.scale=64',
        'model.neck.depth=1',
        *SMALL,
    ]
    command = [CONFIGS / 'dseq_vitb16_600e.py', '--work-dir', tmp_path / 'run']
    if source == 'folder':
        images = write_images(tmp_path / 'unlabelled', 4, size=70, classes=1)
        command += ['--data', images]
        options = small
    else:
        root = tmp_path / 'imagenet'
        for split in ('train', 'val'):
            write_images(root / split, 4, size=70, classes=2)
        options = [
            *small,
            f'train_dataloader.dataset.dataset.data_root={root}',
            'train_dataloader.dataset.dataset.metainfo.classes=(class0,class1)',
        ]
        for loader in ('bank', 'query'):
            options += [
                f'custom_hooks.0.{loader}.dataset.data_root={root}',
                f'custom_hooks.0.{loader}.dataset.metainfo.classes=(class0,class1)',
                f'custom_hooks.0.{loader}.dataset.pipeline.1.scale=64',
                f'custom_hooks.0.{loader}.dataset.pipeline.2.crop_size=64',
                f'custom_hooks.0.{loader}.num_workers=0',
            ]
        options += ['custom_hooks.0.k=2', 'custom_hooks.0.bank_fraction=1.0']
    run_tool('train', *command, '--cfg-options', *options)
    assert (tmp_path / 'run' / 'epoch_2.pth').exists()
    (scalars,) = tmp_path.glob('run/*/vis_data/scalars.json')
    assert ('knn_last' in scalars.read_text()) == (source == 'imagenet')
