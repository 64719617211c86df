# Two images, by target:
#
#   docker build --target cpu -t dseq_mm:cpu .
#   docker build --target cuda -t dseq_mm:cuda .
#   docker run --rm -it --gpus all --shm-size 16g -v /data:/workspace/dseq_mm/data dseq_mm:cuda
#
# Data workers hand over batches by shared memory, of which a container has 64 MB unless
# it is given more: --shm-size or --ipc=host.

FROM python:3.11-slim-bookworm AS cpu
WORKDIR /workspace/dseq_mm
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends git libgl1 libglib2.0-0 \
    && rm -rf /var/lib/apt/lists/*
COPY . .
# the small build of PyTorch, and mmcv without operators: nothing is compiled
RUN PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu bash tools/setup_env.sh \
    && rm -rf /root/.cache/pip
ENV PATH=/workspace/dseq_mm/.venv/bin:$PATH
CMD ["dseq-mm", "doctor"]

# The toolkit is that of PyTorch's wheel: mmcv's operators are compiled for the GPU.
FROM nvidia/cuda:13.0.1-devel-ubuntu24.04 AS cuda
WORKDIR /workspace/dseq_mm
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends \
        g++ git libgl1 libglib2.0-0t64 python3 python3-dev python3-venv \
    && rm -rf /var/lib/apt/lists/*
COPY . .
# no GPU is seen while an image is built, so its kinds are named: A100, RTX 30, RTX 40, H100
ARG TORCH_CUDA_ARCH_LIST="8.0;8.6;8.9;9.0"
RUN FORCE_CUDA=1 TORCH_CUDA_ARCH_LIST="${TORCH_CUDA_ARCH_LIST}" \
        bash tools/setup_env.sh --with-ops \
    && rm -rf /root/.cache/pip
ENV PATH=/workspace/dseq_mm/.venv/bin:$PATH
CMD ["dseq-mm", "doctor"]
