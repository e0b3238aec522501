# What a site and a coordinator of a federation run, with nginx and OpenSSH beside Python. From the checkout:
#   docker build -t tff_vision . && docker build -f deploy/federation.Dockerfile -t tff_vision_federation .
ARG BASE=tff_vision
FROM ${BASE}
USER root
RUN apt-get update \
  && apt-get install -y --no-install-recommends nginx-light libnginx-mod-stream openssh-client openssh-server openssl \
  && rm -rf /var/lib/apt/lists/*
USER trainer
