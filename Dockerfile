# An agent of Quorate with the etcd of the distribution. `docker compose up` starts three of them (compose.yaml).
FROM node:22-trixie-slim AS build
WORKDIR /src
COPY package.json package-lock.json .npmrc ./
RUN npm ci --ignore-scripts
COPY . .
RUN npm run build && npm prune --omit=dev --ignore-scripts

FROM node:22-trixie-slim
# etcd itself, and what ties it to its agent (util-linux) and watches the data folder's lock.
RUN apt-get update \
  && apt-get install --yes --no-install-recommends etcd-server etcd-client util-linux \
  && rm -rf /var/lib/apt/lists/*
COPY --from=build /src/package.json /opt/quorate/
COPY --from=build /src/bin /opt/quorate/bin
COPY --from=build /src/dist /opt/quorate/dist
COPY --from=build /src/node_modules /opt/quorate/node_modules
RUN ln -s /opt/quorate/bin/quorate.js /usr/local/bin/quorate && chmod +x /opt/quorate/bin/quorate.js
# Identity, state and data of the agent: a volume of its own for each.
VOLUME /var/lib/quorate
EXPOSE 2379 2380
# `docker stop` sends SIGTERM: the agent stops in place and keeps its seat, for which it may wait 20 s for others.
STOPSIGNAL SIGTERM
ENTRYPOINT ["quorate"]
CMD ["run"]
