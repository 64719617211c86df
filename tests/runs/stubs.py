"""What the pretending tools of both planners share."""

#: A train.py that leaves a checkpoint, see ``stub_checkpoint``.
TRAIN = """
    work = pathlib.Path(option('--work-dir'))
    work.mkdir(parents=True, exist_ok=True)
    shutil.copy(os.environ['STUB_CHECKPOINT'], work / 'epoch_1.pth')
    (work / 'last_checkpoint').write_text('elsewhere/epoch_1.pth')
"""
