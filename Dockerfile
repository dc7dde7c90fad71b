# tuma's image: what requirements.lock names, by hash, and tuma itself; run as a user without rights.
#   docker build -t tuma .

FROM python:3.12.12-slim-bookworm AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python -m venv /opt/tuma
WORKDIR /src
# Dependencies first: a change in tuma alone does not fetch them again.
COPY requirements.lock ./
RUN /opt/tuma/bin/pip install --require-hashes -r requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY bot ./bot
COPY channels ./channels
COPY templates ./templates
# The lock holds the build tools too, so nothing is fetched that it does not name.
RUN /opt/tuma/bin/pip install --no-deps --no-build-isolation .

FROM python:3.12.12-slim-bookworm
RUN useradd --uid 10001 --user-group --no-create-home --home-dir /data --shell /usr/sbin/nologin tuma \
 && install -d -o tuma -g tuma -m 0700 /data
COPY --from=build /opt/tuma /opt/tuma
ENV PATH=/opt/tuma/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    TUMA_DATA_DIR=/data \
    TUMA_LISTEN=0.0.0.0:8000
WORKDIR /data
USER 10001:10001
# The embedded server's append-only file, when REDIS_URL is not set.
VOLUME /data
EXPOSE 8000
STOPSIGNAL SIGTERM
# For a container that plays the api role; docker-compose.yml has another check for those that do not.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
  CMD ["python", "-c", "import urllib.request as web; web.urlopen('http://127.0.0.1:8000/healthz', timeout=4)"]
ENTRYPOINT ["tuma"]
CMD ["up"]
