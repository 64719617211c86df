"""What is published about each data set: its folder, its numbers, where to get it."""

from typing import NamedTuple

from dseq_mm.data.clevr import SCENES


class Published(NamedTuple):
    """Facts of a data set.

    Attributes:
        title: Its name in words.
        root: Where the configs look for it.
        tree: The expected files, as text of several lines.
        source: Where to get it, as text.
        mend: What to do about missing or damaged files.
        numbers: Published numbers of images per split, and of `classes`.
    """

    title: str
    root: str
    tree: str
    source: str
    mend: str
    numbers: dict[str, int]


DATA_SETS = {
    'imagenet': Published(
        title='ImageNet-1k (ILSVRC 2012)',
        root='data/imagenet',
        tree="""\
data/imagenet/
  train/n01440764/n01440764_10026.JPEG ...       one folder per class
  val/n01440764/ILSVRC2012_val_00000293.JPEG ... the same folders""",
        source='https://www.image-net.org (after registration): '
        'ILSVRC2012_img_train.tar and ILSVRC2012_img_val.tar',
        mend='unpack the archives of ImageNet again',
        numbers={'classes': 1000, 'train': 1_281_167, 'val': 50_000},
    ),
    'inat21': Published(
        title='iNaturalist 2021',
        root='data/inat21',
        tree="""\
data/inat21/
  train/00000_Animalia_.../*.jpg ...             one folder per species
  val/00000_Animalia_.../*.jpg ...               the same folders""",
        source='https://github.com/visipedia/inat_comp/tree/master/2021: '
        'train.tar.gz and val.tar.gz (not train_mini)',
        mend='unpack train.tar.gz and val.tar.gz again',
        numbers={'classes': 10_000, 'train': 2_686_843, 'val': 100_000},
    ),
    'cub': Published(
        title='CUB-200-2011',
        root='data/CUB_200_2011',
        tree="""\
data/CUB_200_2011/
  images/001.Black_footed_Albatross/*.jpg ...    one folder per class
  images.txt
  image_class_labels.txt
  train_test_split.txt""",
        source='https://www.vision.caltech.edu/datasets/cub_200_2011: CUB_200_2011.tgz',
        mend='unpack CUB_200_2011.tgz again',
        numbers={'classes': 200, 'train': 5994, 'test': 5794},
    ),
    'cars': Published(
        title='Stanford Cars',
        root='data/stanford_cars',
        tree="""\
data/stanford_cars/
  cars_train/00001.jpg ...
  cars_test/00001.jpg ...
  devkit/cars_train_annos.mat
  devkit/cars_test_annos_withlabels.mat
or, in place of all that,
  car_ims/000001.jpg ...
  cars_annos.mat""",
        source='https://ai.stanford.edu/~jkrause/cars/car_dataset.html describes it; '
        'its download links no longer work, so a mirror is needed',
        mend='get the archive with these files again',
        numbers={'classes': 196, 'train': 8144, 'test': 8041},
    ),
    'coco': Published(
        title='COCO 2017',
        root='data/coco',
        tree="""\
data/coco/
  annotations/instances_train2017.json
  annotations/instances_val2017.json
  train2017/000000000009.jpg ...
  val2017/000000000139.jpg ...""",
        source='https://cocodataset.org/#download: train2017.zip, val2017.zip and '
        'annotations_trainval2017.zip',
        mend='unpack train2017.zip, val2017.zip and annotations_trainval2017.zip again',
        numbers={'classes': 80, 'train': 118_287, 'val': 5000},
    ),
    'ade20k': Published(
        title='ADE20K (SceneParse150)',
        root='data/ade/ADEChallengeData2016',
        tree="""\
data/ade/ADEChallengeData2016/
  images/training/ADE_train_00000001.jpg ...
  images/validation/ADE_val_00000001.jpg ...
  annotations/training/ADE_train_00000001.png ...
  annotations/validation/ADE_val_00000001.png ...""",
        source='http://data.csail.mit.edu/places/ADEchallenge/ADEChallengeData2016.zip',
        mend='unpack ADEChallengeData2016.zip again',
        numbers={'classes': 150, 'training': 20_210, 'validation': 2000},
    ),
    'clevr': Published(
        title='CLEVR v1.0',
        root='data/CLEVR_v1.0',
        tree="""\
data/CLEVR_v1.0/
  images/train/CLEVR_train_000000.png ...
  images/val/CLEVR_val_000000.png ...
  scenes/CLEVR_train_scenes.json
  scenes/CLEVR_val_scenes.json""",
        source='https://dl.fbaipublicfiles.com/clevr/CLEVR_v1.0.zip (18 GB)',
        mend='unpack CLEVR_v1.0.zip again',
        numbers=dict(SCENES),
    ),
    'digitscenes': Published(
        title='DigitScenes',
        root='data/digitscenes',
        tree="""\
data/digitscenes/
  digits/{train,val}/{0..9}/*.png
  digit_masks/{train,val}/{0..9}/*.png
  scenes/{train,val}/*.png
  scenes/annotations/instances_{train,val}.json
  scenes/segmentation/{train,val}/*.png
  scenes/clevr_{train,val}.json
  digitscenes.json""",
        source='no download: python tools/make_digitscenes.py data/digitscenes',
        mend='delete the folder and run python tools/make_digitscenes.py',
        numbers={},
    ),
}
