# The command line in a container, for CPUs. Not built yet: no container engine was at hand.
#   docker build -t sppnet-detection .
#   docker run --rm -v "$PWD:/data" sppnet-detection train --config own_quick --data.root FOLDER
FROM python:3.13-slim
RUN apt-get update && apt-get install -y --no-install-recommends libgl1 libglib2.0-0 \
    && rm -rf /var/lib/apt/lists/*
COPY . /src
RUN pip install --no-cache-dir --extra-index-url https://download.pytorch.org/whl/cpu \
    "/src[trunks,serve]" && rm -rf /src
WORKDIR /data
ENTRYPOINT ["detection"]
CMD ["--help"]
