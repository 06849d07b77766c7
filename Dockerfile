# docker build -t desmezcla .
# docker run --rm -v "$PWD:/music" desmezcla separate song.mp3
FROM python:3.12-slim

WORKDIR /build
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY LICENSES ./LICENSES
COPY src ./src
RUN pip install --no-cache-dir -c constraints.txt . && rm -rf /build

RUN useradd --create-home desmezcla
USER desmezcla
# Downloaded releases: mount a volume here to keep them.
ENV DESMEZCLA_HOME=/home/desmezcla/data
WORKDIR /music

ENTRYPOINT ["desmezcla"]
CMD ["--help"]
