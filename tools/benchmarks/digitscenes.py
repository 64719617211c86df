#!/usr/bin/env python
"""Does it learn? Pre-train on DigitScenes with several seeds and write the table.

    python tools/benchmarks/digitscenes.py --seeds 0 1 2 --jobs 2

Each run is one process of one thread. What is finished is not run again, what was
interrupted goes on from its last checkpoint: call it again after a stop. To measure
anew, remove the work folder.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import perf_counter

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = {
    'DSeq-JEPA': 'configs/dseq_digitscenes_20e.py',
    'I-JEPA': 'configs/ijepa_digitscenes_20e.py',
}
COLUMNS = {
    'knn_last': 'kNN, last block',
    'knn_last4': 'kNN, last four',
    'linear_last': 'linear, last block',
    'linear_last4': 'linear, last four',
    'rank_me': 'RankMe',
}


def run_tool(name: str, arguments: list, log: Path) -> None:
    """Run one of the tools in a process of one thread.

    Args:
        name: File under ``tools``.
        arguments: Its arguments.
        log: Where its output goes.

    Raises:
        SystemExit: If it fails.
    """
    command = [sys.executable, str(ROOT / 'tools' / name), *map(str, arguments)]
    environment = {**os.environ, 'OMP_NUM_THREADS': '1'}
    with open(log, 'a') as stream:
        code = subprocess.run(
            command, cwd=ROOT, env=environment, stdout=stream, stderr=stream
        ).returncode
    if code:
        raise SystemExit(f'{" ".join(command)} failed with {code}, see {log}')


def measure(method: str, seed: int, work: Path) -> dict:
    """Train and measure one network, or read what was measured before.

    Args:
        method: Key of ``CONFIGS``, or ``'init '`` and such a key, or ``'pixels'``.
        seed: Seed of weights, masks and augmentation.
        work: Folder of all runs.

    Returns:
        Metrics, with ``seconds`` of the training.
    """
    folder = work / f'{method}_{seed}'.replace(' ', '_').lower()
    result = folder / 'result.json'
    if result.exists():
        return json.loads(result.read_text())
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / 'log.txt'
    metrics, seconds = folder / 'metrics.json', folder / 'seconds.json'
    config = CONFIGS[method.removeprefix('init ').replace('pixels', 'I-JEPA')]
    source = ['--raw-pixels']
    if method.startswith('init '):
        source = ['--init', '--seed', seed]
    elif method in CONFIGS:
        start = perf_counter()
        options = ['--cfg-options', f'randomness.seed={seed}']
        try:
            run_tool(
                'train.py', [config, '--work-dir', folder, '--resume', *options], log
            )
        finally:  # a resumed run is timed by the sum of its parts
            spent = json.loads(seconds.read_text()) if seconds.exists() else 0.0
            seconds.write_text(json.dumps(spent + perf_counter() - start))
        source = [(folder / 'last_checkpoint').read_text()]
    run_tool('knn.py', [config, *source, '--linear', '--out', metrics], log)
    values = json.loads(metrics.read_text())
    values['seconds'] = json.loads(seconds.read_text()) if seconds.exists() else 0.0
    result.write_text(json.dumps(values, indent=2))
    print(f'{method}, seed {seed}: {values}', flush=True)
    return values


def spread(values: list) -> str:
    """Mean, and lowest to highest.

    Args:
        values: One number per seed.

    Returns:
        A table cell.
    """
    if len(values) == 1:
        return f'{values[0]:.1f}'
    low, high = min(values), max(values)
    return f'{statistics.mean(values):.1f} ({low:.1f} to {high:.1f})'


def main() -> None:
    """Run what is missing and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--seeds', type=int, nargs='+', default=[0, 1, 2])
    parser.add_argument('--jobs', type=int, default=2, help='runs side by side')
    parser.add_argument('--work-dir', type=Path, default=Path('work_dirs/digitscenes'))
    parser.add_argument('--out', type=Path, help='Markdown file (default: print)')
    args = parser.parse_args()
    work = args.work_dir.resolve()
    rows = {'pixels': [0]}
    for method in CONFIGS:
        rows[f'init {method}'] = rows[method] = args.seeds
    jobs = [(method, seed) for seed in args.seeds for method in CONFIGS]
    jobs += [(m, s) for m, seeds in rows.items() for s in seeds if m not in CONFIGS]
    with ThreadPoolExecutor(args.jobs) as pool:
        done = dict(
            zip(jobs, pool.map(lambda job: measure(*job, work), jobs), strict=True)
        )
    lines = [
        '| features | ' + ' | '.join(COLUMNS.values()) + ' | minutes |',
        '|---' * (len(COLUMNS) + 2) + '|',
    ]
    titles = {'pixels': 'raw pixels'}
    titles.update({f'init {m}': f'{m} network at initialization' for m in CONFIGS})
    for method, seeds in rows.items():
        results = [done[method, seed] for seed in seeds]
        cells = [
            spread([r[key] for r in results]) if key in results[0] else ''
            for key in COLUMNS
        ]
        minutes = [r['seconds'] / 60 for r in results]
        cells.append(spread(minutes) if method in CONFIGS else '')
        lines.append(f'| {titles.get(method, method)} | ' + ' | '.join(cells) + ' |')
    table = '\n'.join(lines) + '\n'
    print(table)
    if args.out:
        args.out.write_text(table)


if __name__ == '__main__':
    main()
