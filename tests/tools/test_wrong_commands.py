"""Wrong command lines of all tools: one line that names the thing, status 2, no more.

Each is run in this process through the front that all tools share.
"""

import copy
import importlib
import logging
import re
import shlex

import pytest
from mmengine.config import Config

from dseq_mm.data import make_digit_scenes
from dseq_mm.utils import command

IJEPA, DSEQ = 'ijepa_digitscenes_20e', 'dseq_digitscenes_20e'
#: Options of train.py with the words of the answer.
OPTIONS = {
    'a': 'no KEY=VALUE',
    'train_cfg.max_epochs 3': 'no KEY=VALUE',
    '=3': 'no KEY=VALUE',
    'a..b=3': 'no KEY=VALUE',
    'train_cfg.max_epochs=1 train_cfg.max_epochs=2': 'given twice',
    'train_cfg.max_epochs=1 --cfg-options train_cfg.max_epochs=2': 'given twice',
    'train_cfg.max_epochs=1 train_cfg={}': 'set the same',
    'train_cfg={}': 'empty dict changes nothing',
    'train_cfg={a:1}': 'no dict',
    'model.backbone.arch=[1,2': 'brackets do not match',
    'model.backbone.arch=[1,,2]': 'between two commas',
    'lr=0.1': 'optim_wrapper.optimizer.lr',
    'max_epochs=3': 'train_cfg.max_epochs',
    'traindataloader.batch_size=8': 'train_dataloader.batch_size',
    'randomnes.seed=5': 'randomness.seed',
    'randomness.sed=5': "'seed'",
    'randomness.seed=abc': "'abc'",
    'data_root=nowhere/': 'train_dataloader.dataset.dataset.data_root',
    'train_pipeline.1.scale=12': 'train_dataloader.dataset.dataset.pipeline.1.scale',
    'eval_dataloader.batch_size=1': 'custom_hooks.0.bank.batch_size',
    'digits_vit.img_size=12': 'model.backbone.img_size',
    'train_dataloader.batchsize=12': "'batch_size'",
    'train_dataloader.num_workers=two': "'two'",
    'train_dataloader=3': 'train_dataloader.batch_size=',
    'train_dataloader.dataset.dataset.data_rot=x': "'data_root'",
    'train_dataloader.dataset.dataset.type=ImageNett': "'ImageNet'",
    'train_dataloader.dataset.dataset.pipeline.7.scale=1': 'from 0 to 2',
    'train_dataloader.dataset.dataset.pipeline.-1.scale=1': 'from 0 to 2',
    'train_dataloader.dataset.dataset.pipeline.1.scal=1': "'scale'",
    'train_dataloader.dataset.dataset.pipeline=1': 'is a list of 3',
    'train_dataloader.sampler.type=DefaultSample': "'DefaultSampler'",
    'train_dataloader.sampler.shufle=True': "'shuffle'",
    'train_cfg.max_epochs.x=3': 'has no parts',
    'train_cfg.max_epochs=ten': "'ten'",
    'train_cfg.max_iters=10': "'max_epochs'",
    'work_dir.x=3': 'has no parts',
    'default_hooks.checkpoint.intervall=2': "'interval'",
    'default_hooks.checkpoint.interval=often': "'often'",
    'default_hooks.chekpoint.interval=2': "'checkpoint'",
    'default_hooks.logger.intervall=2': "'interval'",
    'default_hooks.logger=5': 'is a dict',
    'custom_hooks.0.intervall=2': "'interval'",
    'custom_hooks.1.interval=2': 'list of 1',
    'custom_hooks.0.bank.batch_sise=2': "'batch_size'",
    'optim_wrapper.optimizer.type=SGD': "'betas'",
    'optim_wrapper.optimizer.type=AdamX': "no 'AdamX'",
    'optim_wrapper.optimizer.lr=fast': "'fast'",
    'optim_wrapper.optimiser.lr=1': "'optimizer'",
    'optim_wrapper.paramwise_cfg.norm_deca_mult=1': "'norm_decay_mult'",
    'optim_wrapper.clip_grad.maxnorm=1': "'max_norm'",
    'optim_wrapper.clip_grad.max_norm=x': "'x'",
    'model.backbone.patch_sise=4': "'patch_size'",
    'model.backbone.with_cls_token=maybe': "'maybe'",
    'model.backbone.arch.embed_dim=12': "'embed_dims'",
    '"model.backbone=dict(type=\'ResNet\', depth=50)"': "ResNet.*'arch'",
    'model.type=IJEPAA': "'IJEPA'",
    'model.mask_generator=[1]': 'is a dict',
    'model.mask_generator.rule.splitt=True': "no 'rule'",
    'model.target_encoder.momentm=0.5': "'momentum'",
    'param_scheduler=1': 'is a list of 3',
    'param_scheduler.0.en=1': "'end'",
    'param_scheduler.0.type=LinearSchedul': "'LinearSchedule'",
    'custom_imports.imports=[x]': 'when the config is read',
    'launcher=pytorch': '--launcher',
    'log_level=LOUD': 'DEBUG',
    'default_scope=mmfoo': "'mmfoo'",
    'env_cfg.mp_cfg.mp_start_methd=fork': "'mp_start_method'",
    'visualizer.vis_backends.0.type=NoBackend': 'NoBackend',
    'resum=True': 'resume',
    'resume=maybe': "'maybe'",
    'find_unused_parameters=maybe': "'maybe'",
    'data_preprocessor.mean=[1,2,3]': 'set model.data_preprocessor.mean',
    'data_preprocessor=None': 'set model.data_preprocessor',
}
#: Numbers that the hosts take in silence, or trip over, with the words of the answer.
NUMBERS = {
    'train_cfg.max_epochs=0': 'train_cfg.max_epochs is 0',
    'train_cfg.max_epochs=1.5': 'train_cfg.max_epochs is 1.5',
    'train_cfg.max_epochs=2147483648': 'train_cfg.max_epochs is 2147483648.*2..31',
    'train_cfg.val_interval=0': 'train_cfg.val_interval is 0.*--no-validate',
    'train_dataloader.batch_size=0': 'train_dataloader.batch_size is 0.*from 1',
    'train_dataloader.batch_size=9999999999': 'batch_size is 9999999999.*2..31',
    'custom_hooks.0.bank.batch_size=-1': 'custom_hooks.0.bank.batch_size is -1',
    'train_dataloader.num_workers=-1': 'train_dataloader.num_workers is -1.*from 0',
    'custom_hooks.0.query.num_workers=1.5': 'num_workers is 1.5',
    'randomness.seed=4294967296': 'randomness.seed is 4294967296.*2..32',
    'randomness.seed=-1': 'randomness.seed is -1',
    'optim_wrapper.accumulative_counts=0': 'accumulative_counts is 0: .* from 1',
    'optim_wrapper.accumulative_counts=-1': 'accumulative_counts is -1',
    'optim_wrapper.accumulative_counts=1.5': 'accumulative_counts is 1.5',
    'optim_wrapper.clip_grad.max_norm=0': 'clip_grad.max_norm is 0: .* above 0',
    'optim_wrapper.clip_grad.max_norm=-1': 'clip_grad.max_norm is -1',
    'optim_wrapper.clip_grad.max_norm=nan': 'clip_grad.max_norm is nan',
    '"optim_wrapper.clip_grad=dict(type=\'value\', clip_value=0)"': 'clip_value is 0',
    'model.data_preprocessor.std=[0,0,0]': 'data_preprocessor.std is .*above 0',
    'model.data_preprocessor.std=[1,1,-1]': 'data_preprocessor.std is .*above 0',
    'auto_scale_lr.base_batch_size=-8': 'base_batch_size is -8',
    'model.backbone.drop_path_rate=2': 'model.backbone.drop_path_rate is 2.* below 1',
    'model.backbone.drop_path_rate=-1': 'model.backbone.drop_path_rate is -1',
    'model.backbone.layer_cfgs.drop_path_rate=1': 'layer_cfgs.drop_path_rate is 1',
    'train_dataloader.dataset.dataset.pipeline.1.crop_ratio_range=[0,0]': 'lower one',
    'train_dataloader.dataset.dataset.pipeline.1.crop_ratio_range=[1,.3]': 'lower one',
    'train_dataloader.dataset.dataset.pipeline.1.scale=9999999999': 'scale is 9+: ',
    'train_dataloader.dataset.dataset.pipeline.1.scale=[24,9999999999]': 'scale.1 is 9',
    'model.backbone.img_size=4294967296': 'img_size is 4294967296.*2..31',
    'model.neck.depth=2147483648': 'model.neck.depth is 2147483648',
}
OPTIONS |= NUMBERS
#: Found when the model and the data are built.
BUILT = {
    'optim_wrapper.optimizer.betas=0.9': r'AdamW \(optim_wrapper.optimizer\)',
    'optim_wrapper.optimizer.lr=-1': r'AdamW \(optim_wrapper.optimizer\).*-1',
    'model.backbone.patch_size=5': 'patches of 5 px',
    'model.neck.num_heads=5': 'num_heads=5',
    'model.backbone.arch=huuge': 'huuge',
    'model.neck.depth=0': 'depth=0 of JEPAPredictor',
    'model.mask_generator.min_patches=0': 'min_patches=0 of MultiBlock',
    'param_scheduler.0.start_factor=-1': 'start_factor=-1 of LinearSchedule',
    'param_scheduler.1.eta_min=-1 param_scheduler.1.eta_min_ratio=None': 'eta_min=-1',
    '"param_scheduler=[dict(type=\'LinearLR\', start_factor=-1)]"': 'LinearLR.*0 and 1',
    'model.head=None': r'model.head is dict',
    'train_dataloader.batch_size=999': 'train_dataloader.batch_size',
    'train_dataloader.dataset.dataset.data_root=nowhere': 'nowhere',
    'custom_hooks.0.interval=0': 'interval',
    'model.backbone.img_size=[24,48]': '6 rows and 6 columns.* 6 and 12',
    'model.backbone.img_size=[48,12] '
    'train_dataloader.dataset.dataset.pipeline.1.scale=[12,48]': '3 rows and 12 col',
}
LINES = [
    ('train', 'required: config'),
    ('train nosuch', 'nosuch'),
    ('train ijepa_digitscene_20e', IJEPA),
    ('train .', 'a folder'),
    ('train notes.txt', r'\.yaml'),
    ('train syntax.py', 'syntax.py, line 2'),
    ('train based.py', 'syntax.py, line 2'),
    ('train name.py', "name.py, line 3.*'z'"),
    ('train gone.py', 'nowhere.py'),
    ('train bad.yaml', 'bad.yaml'),
    ('train exits.py', 'exits.py, line 3: SystemExit'),
    ('train ends.py', 'ends.py, line 2: GeneratorExit'),
    ('train hook.py', "'interval'"),
    ('train top.py', "'train_dataloader'"),
    (f'train {IJEPA} --wrkdir x', '--work-dir'),
    (f'train {IJEPA} --launcher slrm', 'slrm'),
    (f'train {IJEPA} --launcher pytorch', 'dist_train.sh'),
    (f'train {IJEPA} --launcher slurm', 'slurm_train.sh'),
    (f'train {IJEPA} --work-dir notes.txt', 'notes.txt is no folder'),
    (f'train {IJEPA} --work-dir notes.txt/deeper', 'notes.txt is no folder'),
    (f'train {IJEPA} --resume', 'no whole checkpoint'),
    (f'train {IJEPA} --resume none.pth', 'none.pth'),
    (f'train {IJEPA} --insist', '--resume'),
    (f'train {IJEPA} --from-scratch', '--from-scratch'),
    (f'train {IJEPA} --checkpoint none.pth', 'none.pth'),
    (f'train {IJEPA} --checkpoint a --from-scratch', '--checkpoint'),
    (f'train {IJEPA} --cfg-options', '--cfg-options'),
    ('train linear_digits_28e', '--checkpoint PATH'),
    (f'test {IJEPA}', 'required: checkpoint'),
    (f'test {IJEPA} none.pth', 'none.pth'),
    (f'test {IJEPA} bad.pth', 'bad.pth'),
    (f'test {IJEPA} bad.pth --out .', '--out'),
    (f'test {IJEPA} bad.pth --out notes.txt/m.json', '--out'),
    (f'test {IJEPA} bad.pth --show-dir notes.txt', '--show-dir'),
    (f'test {IJEPA} bad.pth --cfg-options lr=1', 'lr'),
    ('knn', 'required: config'),
    (f'knn {IJEPA}', '--init'),
    (f'knn {IJEPA} bad.pth --init', '--init'),
    (f'knn {IJEPA} none.pth', 'none.pth'),
    (f'knn {IJEPA} bad.pth', 'bad.pth'),
    (f'knn {IJEPA} --init --seed -1', '-1'),
    (f'knn {IJEPA} --init --seed x', 'x is no whole number'),
    (f'knn {IJEPA} --init --seed 99999999999', '99999999999'),
    (f'knn {IJEPA} --init --out .', '--out'),
    (f'knn {IJEPA} --init --encoder both', 'both'),
    ('knn linear_digits_28e --init', 'KNNHook'),
    (f'knn {IJEPA} --init --cfg-options custom_hooks.0.kk=3', "'k'"),
    (f'knn {IJEPA} --raw-pixels --cfg-options model.backbone.img_sise=3', "'img_size'"),
    ('export_backbone a.pth', 'required: out'),
    ('export_backbone none.pth out.pth', 'none.pth'),
    ('export_backbone bad.pth out.pth', 'bad.pth'),
    ('export_backbone bad.pth .', 'folder'),
    ('export_backbone bad.pth out.zip', r'out\.zip'),
    ('export_backbone bad.pth notes.txt/out.pth', 'notes.txt'),
    ('export_backbone bad.pth out.pth --encoder both', 'both'),
    ('export_backbone bad.pth out.pth --layout torch', 'torch'),
    ('saliency none.pth --images . --masks .', 'none.pth'),
    ('saliency bad.pth --images .', '--masks'),
    ('saliency bad.pth --images . --masks nowhere', 'nowhere'),
    ('report nowhere', 'nowhere'),
    ('report .', 'no scalars.json'),
    ('report . --num 0', '--num'),
    ('report . --out .', '--out'),
    ('visualize regions none.pth --images .', 'none.pth'),
    ('visualize regions bad.pth --images .', 'bad.pth'),
    ('visualize regions bad.pth', '--images'),
    ('visualize curves .', 'no scalars.json'),
    ('visualize curves . --images .', '--images'),
    ('visualize rigions bad.pth --images .', 'regions'),
    ('visualize pca bad.pth --images . --out x.xyz', r'\.png'),
    ('visualize pca bad.pth --images . --num 0', '--num'),
    ('visualize loss bad.pth --images .', 'bad.pth'),
    (f'visualize_regions {DSEQ} none.pth out.png', 'none.pth'),
    (f'visualize_regions {DSEQ} bad.pth out.png', 'bad.pth'),
    (f'visualize_regions {IJEPA} bad.pth out.png', 'no regions'),
    (f'visualize_regions {DSEQ} bad.pth out.xyz', r'\.png'),
    (f'visualize_regions {DSEQ} bad.pth .', 'folder'),
    (f'visualize_regions {DSEQ} bad.pth out.png --num 0', '--num'),
    (f'visualize_regions {DSEQ} bad.pth out.png --start -1', '--start'),
    (f'visualize_regions {DSEQ} bad.pth out.png --start 99999999999', '--start'),
    (f'visualize_regions {DSEQ} bad.pth out.png --nun 3', '--num'),
    ('evaluate', '--tasks'),
    ('evaluate none.pth --tasks knn', 'none.pth'),
    ('evaluate bad.pth --tasks knn', 'bad.pth'),
    ('evaluate bad.pth --tasks kn', "'knn'"),
    ("evaluate bad.pth --tasks ''", 'no task'),
    ('evaluate bad.pth --tasks knn --gpus 0', '--gpus'),
    ('evaluate bad.pth --tasks knn --gpus two', 'two'),
    ('evaluate bad.pth --tasks knn --gpus 9999', '--gpus 9999: the number of GPUs'),
    ('evaluate bad.pth --tasks knn --jobs 2 --gpus 2', '--jobs'),
    ('evaluate bad.pth --tasks knn --seeds a', '--seeds'),
    ('evaluate bad.pth --tasks knn --seeds 0,0', '0,0'),
    ('evaluate bad.pth --tasks knn --seeds 99999999999', '--seeds'),
    ('evaluate bad.pth --tasks knn --out notes.txt', '--out'),
    ('evaluate bad.pth --task knn --dryrun', '--dry-run'),
    ('ablate region', 'regions'),
    ('ablate regions --budget vits16', 'vits16_100e'),
    ('ablate regions --seeds x', '--seeds'),
    ('ablate regions --jobs 0', '--jobs'),
    ('ablate regions --devices 99', '--devices'),
    ('ablate regions --jobs 2 --devices 0', '--devices'),
    ('ablate regions --out notes.txt', 'notes.txt'),
    ('ablate passes --cfg-options lr=1', 'optim_wrapper.optimizer.lr'),
    ('ablate passes --cfg-options a', 'KEY=VALUE'),
    ('ablate passes --cfg-options optim_wrapper.optimizer.lrr=1', "'lr'"),
    ('ablate --tables exits_too.py', 'exits_too.py: SystemExit: 3'),
    ('ablate regions --evaluate-options linea.x=1', 'linear'),
    ('check_data cocoo', 'cocoo'),
    ('check_data coco --samples 0', '--samples'),
    ('check_data coco --samples x', 'x'),
    ('make_digitscenes out --train 0', '--train'),
    ('make_digitscenes out --train x', 'x'),
    ('make_digitscenes out --seed -1', '--seed'),
    ('make_digitscenes notes.txt', 'notes.txt'),
    ('make_digitscenes out --size 3', 'size'),
    ('benchmarks/dense --side 0', '--side'),
    ('benchmarks/dense --side 2147483648', '--side.*to 2147483647'),
    ('benchmarks/flops --batch 0', '--batch'),
    ('benchmarks/flops --seed x', '--seed'),
    ('benchmarks/input --crops 0', '--crops'),
    ('benchmarks/regions --rounds 0', '--rounds'),
    ('benchmarks/step --batch 0', '--batch'),
    ('benchmarks/step --device cuda', 'no GPU here'),
    ('benchmarks/step --check', 'no GPU here'),
    ('benchmarks/method_lines --x', '--x'),
    ('projects.dmt_jepa.measure_targets --grid 0 4', '--grid'),
    ('projects.any_backbone.count_flops --x', '--x'),
    ('dseq_mm.doctor --x', '--x'),
]  # fmt: skip
LINES += [(f'train {IJEPA} --cfg-options {key}', text) for key, text in OPTIONS.items()]
CHILD = f"_base_ = 'dseq_mm::{IJEPA}.py'\n"
FILES = {
    'notes.txt': '',
    'bad.pth': 'no checkpoint',
    'syntax.py': CHILD + 'model = dict(\n',
    'name.py': CHILD + 'x = 1\ny = z\n',
    'based.py': "_base_ = 'syntax.py'\n",
    'gone.py': "_base_ = 'nowhere.py'\n",
    'bad.yaml': 'a: [1\nb',
    'hook.py': CHILD + 'default_hooks = dict(logger=dict(intervall=3))\n',
    'exits.py': CHILD + 'import sys\nsys.exit()\n',
    'ends.py': CHILD + 'raise GeneratorExit\n',
    'exits_too.py': 'import sys\nsys.exit(3)\n',
    'top.py': CHILD + 'traindataloader = dict(batch_size=8)\n',
}


@pytest.fixture(scope='module')
def place(tmp_path_factory):
    """A folder with the files above and a few digits where the configs look."""
    root = tmp_path_factory.mktemp('place')
    for name, text in FILES.items():
        (root / name).write_text(text)
    make_digit_scenes(
        root / 'data/digitscenes', train=70, val=10, scenes_train=1, scenes_val=1
    )
    return root


@pytest.fixture(scope='module')
def read():
    """Reads each shipped config once; what changes it gets a copy."""
    return {}


@pytest.fixture
def answer(place, read, load_tool, monkeypatch, capsys):
    """Runs a command line in that folder: its status and the lines on stderr."""
    monkeypatch.chdir(place)
    from_file = Config.fromfile

    def once(path):
        path = str(path)
        if place.name not in path and path not in FILES:
            if path not in read:
                read[path] = from_file(path)
            return copy.deepcopy(read[path])
        return from_file(path)

    monkeypatch.setattr(Config, 'fromfile', staticmethod(once))
    # the loggers of earlier runs write to what pytest has closed
    monkeypatch.setattr(logging, 'raiseExceptions', False)
    for name in ('RANK', 'WORLD_SIZE', 'SLURM_PROCID', 'LOCAL_WORLD_SIZE'):
        monkeypatch.delenv(name, raising=False)

    def run(line):
        tool, *arguments = shlex.split(line)
        own = tool.startswith(('projects.', 'dseq_mm.'))
        module = importlib.import_module(tool) if own else load_tool(tool)
        try:
            status = command.run(module.main, arguments)
        except SystemExit as end:
            status = end.code
        return status, capsys.readouterr().err.splitlines()

    return run


@pytest.mark.parametrize(('line', 'words'), LINES)
def test_one_line_names_it(answer, line, words):
    status, lines = answer(line)
    assert status == 2 and len(lines) == 1, lines
    assert re.search(words, lines[0]), lines[0]


@pytest.mark.parametrize(('option', 'words'), BUILT.items())
def test_one_line_before_anything_is_trained(answer, option, words):
    line = f'train {IJEPA} --no-validate --work-dir built --cfg-options {option}'
    if 'custom_hooks' in option:
        line = line.replace(' --no-validate', '')
    test_one_line_names_it(answer, line, words)


def test_traceback_on_demand(answer):
    status, lines = answer(f'train {IJEPA} --debug --cfg-options lr=1')
    assert status == 2 and lines[0].startswith('Traceback') and "'lr'" in lines[-1]
