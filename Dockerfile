# lrcompress on the CPU. On ARM: --build-arg ENGINE=tensorflow
#   docker build -t lrcompress .
#   docker run --rm -v "$PWD:/models" -u "$(id -u):$(id -g)" lrcompress compress model.h5
FROM python:3.12-slim
ARG ENGINE=tensorflow-cpu
WORKDIR /src
# What changes seldom first: an edited source leaves this layer as it is.
COPY requirements-no-engine.txt .
RUN python -m pip install --no-cache-dir -r requirements-no-engine.txt $ENGINE \
    ai-edge-litert onnx onnxruntime tf2onnx pillow
COPY pyproject.toml README.md LICENSE ./
COPY lrcompress lrcompress
RUN python -m pip install --no-cache-dir --no-deps .
# Whoever runs it may have no home here.
ENV KERAS_HOME=/tmp/keras MPLCONFIGDIR=/tmp/matplotlib TF_CPP_MIN_LOG_LEVEL=3
WORKDIR /models
ENTRYPOINT ["lrcompress"]
