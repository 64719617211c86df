"""Check that an evaluator compares with the annotations of the data it is given."""

import os
from collections.abc import Iterator
from typing import Any

from .findings import Findings
from .labels import innermost


def check_evaluator(dataset: Any, evaluator: Any, config: Any, name: str) -> Findings:
    """Compare the images of a data set with those of mmdet's `CocoMetric`.

    That metric reads an annotation file of its own. Images of the data set that the
    file lacks stop the evaluation; images of the file that the data set lacks count as
    images in which nothing was found.

    Args:
        dataset: A data set, maybe in wrappers.
        evaluator: That of mmengine, with its metrics.
        config: Its config, which tells the name of its file.
        name: 'val' or 'test'.

    Returns:
        An error if the images differ; a warning if they are some of the same file.
    """
    found = Findings()
    apis = [
        api
        for metric in getattr(evaluator, 'metrics', ())
        if (api := getattr(metric, '_coco_api', None)) is not None
    ]
    parts = [part for part in innermost(dataset) if getattr(part, 'ann_file', '')]
    if not apis or not parts:
        return found
    infos = [part.get_data_info(i) for part in parts for i in range(len(part))]
    if not all('img_id' in info for info in infos):
        return found
    paths = {info['img_id']: info['img_path'].replace('\\', '/') for info in infos}
    own = ' and '.join(dict.fromkeys(str(part.ann_file) for part in parts))
    files = [*dict.fromkeys(_files(config))]
    for number, api in enumerate(apis):
        file = files[number] if len(files) == len(apis) else ' or '.join(files)
        listed = {key: image['file_name'] for key, image in api.imgs.items()}
        alike = all(
            paths[key].endswith(listed[key]) for key in paths.keys() & listed.keys()
        )
        if alike and paths.keys() == listed.keys():
            continue
        same = bool(file) and os.path.realpath(file) == os.path.realpath(own)
        if same and alike and paths.keys() < listed.keys():
            found.warnings.append(
                f'{len(paths):,} of {len(listed):,} images of {own} are evaluated; in '
                'the others nothing counts as found, which lowers the result'
            )
            continue
        found.errors.append(
            f'{name}_evaluator compares with {file or "an annotation file"} of '
            f'{len(listed):,} images, but {name}_dataloader reads {own} of '
            f'{len(paths):,}, and these are not the same images: set '
            f'{name}_evaluator.ann_file and {name}_dataloader.dataset to one file'
        )
    return found


def _files(config: Any) -> Iterator[str]:
    """Annotation files in the config of an evaluator."""
    if isinstance(config, dict):
        if config.get('ann_file'):
            yield str(config['ann_file'])
        yield from _files(config.get('metrics'))
    elif isinstance(config, list | tuple):
        for part in config:
            yield from _files(part)
