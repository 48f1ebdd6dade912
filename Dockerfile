# The command line in a container, for CPUs. Not built yet: no container engine was at hand; each line
# was checked against setup.cfg by reading.
#   docker build -t sppnet-detection .
#   docker run --rm --init --ipc=host -v "$PWD:/data" sppnet-detection train --config own_quick --data.root FOLDER
#   docker run --rm --init -p 127.0.0.1:8000:8000 -v "$PWD:/data" sppnet-detection serve runs/mine --host 0.0.0.0
# Python 3.11 is what the tests have run on. OpenCV's wheel asks for the two libraries.
FROM python:3.11-slim-bookworm
RUN apt-get update && apt-get install -y --no-install-recommends libgl1 libglib2.0-0 \
    && rm -rf /var/lib/apt/lists/*
COPY . /src
RUN pip install --no-cache-dir --extra-index-url https://download.pytorch.org/whl/cpu \
    "/src[trunks,serve]" && rm -rf /src
WORKDIR /data
ENTRYPOINT ["detection"]
CMD ["--help"]
