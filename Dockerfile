# For machines that are not Linux on x86-64, and for servers. From the checkout:
#
#   docker build -t tff_vision .
#   docker run --rm tff_vision                                                     # the doctor
#   docker run --rm -v "$PWD/runs:/home/trainer/tff_vision/runs" tff_vision pipelines.train --rounds=20
#
# docs/how-to/install.md says more.
FROM --platform=linux/amd64 python:3.11-slim

ENV PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 TF_CPP_MIN_LOG_LEVEL=3

# The lock first: this layer, the slow one, is built anew only when the lock changes.
COPY requirements.txt /tmp/requirements.txt
RUN pip install --no-cache-dir --no-deps -r /tmp/requirements.txt && rm /tmp/requirements.txt

# Not root: whoever mounts a folder for runs/ gives it to user 1000.
RUN useradd --create-home --uid 1000 trainer
USER trainer
WORKDIR /home/trainer/tff_vision
COPY --chown=trainer:trainer . .
RUN mkdir -p runs

ENTRYPOINT ["python", "-m"]
CMD ["pipelines.doctor"]
