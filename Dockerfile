# The locked environment, and JupyterLab at the notebooks:
#   docker build --tag affectlib .
#   docker run --publish 127.0.0.1:8888:8888 affectlib
FROM python:3.11-slim

# All other libraries come with the wheels.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends make \
    && rm -rf /var/lib/apt/lists/*

RUN useradd --create-home reader && mkdir /affectlib && chown reader /affectlib
USER reader
WORKDIR /affectlib

# First the environment alone, so that a change of code does not install it anew. `cpu` leaves out CUDA.
ARG TORCH=lock
COPY --chown=reader Makefile requirements.lock pyproject.toml README.md LICENSE ./
RUN mkdir affectlib && touch affectlib/__init__.py && make env TORCH="$TORCH" && rm -rf ~/.cache

COPY --chown=reader . .
ENV PATH=/affectlib/.venv/bin:$PATH
EXPOSE 8888
CMD ["affectlib", "lab", "--ip=0.0.0.0", "--no-browser"]
