import type { Config } from "./config.ts";
import {
  clusterStateFlagExisting,
  clusterStateFlagNew,
  compactorModePeriodic,
  compactorModeRevision,
  maxElectionMs,
} from "./constants.ts";
import { durationMs } from "./duration.ts";
import { ConfigError } from "./error.ts";
import { initialMembers } from "./initial-cluster.ts";
import { checkHandlerPaths } from "../front/paths.ts";
import { fields, type FieldPath, type TLSSide } from "./table.ts";
import { checkBindURLs, checkHostURLs, isSecure } from "./urls.ts";
import { valueOf, whyNot } from "./values.ts";

/** By the reference's rules, and those by which etcd itself would end at its start. @throws ConfigError */
export function validate(config: Config): void {
  checkKinds(config);
  checkBindURLs(config.lpUrls, "lpUrls");
  checkBindURLs(config.lcUrls, "lcUrls");
  checkBindURLs(config.listenClientHttpUrls ?? [], "listenClientHttpUrls");
  checkBindURLs(config.listenMetricsUrls, "listenMetricsUrls");
  checkHostURLs(config.apUrls, "apUrls");
  checkHostURLs(config.acUrls, "acUrls");
  checkBoot(config);
  checkElection(config);
  if (config.lcUrls.length > 0 && config.acUrls.length === 0) {
    throw new ConfigError("UnsetAdvertiseClientURLsFlag", "Cannot listen for clients: no client URL is advertised", {
      field: "acUrls",
      hint: "name in acUrls what others reach this member at",
    });
  }
  checkCompaction(config);
  checkTLS(config);
  checkChoices(config);
  checkExtension(config);
}

function checkKinds(config: Config): void {
  const isDuration = (text: string): boolean => (durationMs(text) ?? -1) >= 0;
  for (const [path, { kind }] of Object.entries(fields) as [FieldPath, (typeof fields)[FieldPath]][]) {
    const value = valueOf(config, path);
    const why = whyNot(kind, value, isDuration);
    if (why !== undefined)
      throw new ConfigError("InvalidValue", `Cannot use ${JSON.stringify(value)} as ${path}: ${why}`, { field: path });
  }
}

function checkBoot(config: Config): void {
  const { clusterState, durl, initialCluster, dnsCluster, discoveryEndpoints = [], discoveryToken = "" } = config;
  if (clusterState !== clusterStateFlagNew && clusterState !== clusterStateFlagExisting) {
    const states = `"${clusterStateFlagNew}" or "${clusterStateFlagExisting}"`;
    throw new ConfigError("InvalidClusterState", `Cannot use ${JSON.stringify(clusterState)} as clusterState: it is ${states}`, {
      field: "clusterState",
    });
  }
  const ways = { initialCluster, durl, discoveryEndpoints: discoveryEndpoints.join(), dnsCluster };
  const set = Object.entries(ways).flatMap(([name, value]) => (value === "" ? [] : [name]));
  if (set.length > 1) {
    throw new ConfigError("ConflictBootstrapFlags", `Cannot begin a cluster in more than one way: ${set.join(" and ")} are set`, {
      field: set[1] ?? "",
      hint: `choose one, and set the others to ""`,
    });
  }
  if (discoveryEndpoints.length > 0 !== (discoveryToken !== "")) {
    throw new ConfigError("InvalidValue", "Cannot discover the members: discoveryEndpoints and discoveryToken go together", {
      field: discoveryToken === "" ? "discoveryToken" : "discoveryEndpoints",
    });
  }
  for (const [name, urls] of initialMembers(initialCluster)) checkHostURLs(urls, `initialCluster, for ${name}`);
}

function checkElection({ tickMs, electionMs }: Config): void {
  const invalid = (field: string, message: string): ConfigError => new ConfigError("InvalidElectionTimeout", message, { field });
  if (tickMs === 0) throw invalid("tickMs", "Cannot use 0 as tickMs: there is a heartbeat after each tick");
  if (electionMs === 0) throw invalid("electionMs", "Cannot use 0 as electionMs: it must be at least 5 ticks");
  if (electionMs < 5 * tickMs)
    throw invalid("electionMs", `Cannot use ${electionMs} as electionMs: it must be at least 5 ticks of ${tickMs} ms`);
  if (electionMs > maxElectionMs)
    throw invalid("electionMs", `Cannot use ${electionMs} as electionMs: it must be at most ${maxElectionMs}`);
}

function checkCompaction({ autoCompactionMode: mode, autoCompactionRetention: retention }: Config): void {
  const invalid = (field: string, message: string, hint?: string): ConfigError =>
    new ConfigError("InvalidCompaction", message, { field, ...(hint === undefined ? {} : { hint }) });
  if (mode !== "" && mode !== compactorModePeriodic && mode !== compactorModeRevision) {
    const modes = `"${compactorModePeriodic}" or "${compactorModeRevision}"`;
    throw invalid("autoCompactionMode", `Cannot use ${JSON.stringify(mode)} as autoCompactionMode: it is ${modes}`);
  }
  if (retention === "" || /^\d+$/.test(retention)) return;
  const cannot = `Cannot use ${JSON.stringify(retention)} as autoCompactionRetention`;
  if (mode === compactorModeRevision)
    throw invalid("autoCompactionRetention", `${cannot}: by revision it is a number of revisions`, `write it as "5000"`);
  const ms = durationMs(retention);
  if (ms === undefined || ms < 0)
    throw invalid("autoCompactionRetention", `${cannot}: it is no duration and no number of hours`, `write it as "5m" or "5"`);
}

function checkTLS(config: Config): void {
  const sides: readonly (readonly [TLSSide, boolean, readonly string[]])[] = [
    ["clientTLSInfo", config.clientAutoTLS, [...config.lcUrls, ...(config.listenClientHttpUrls ?? [])]],
    ["peerTLSInfo", config.peerAutoTLS, config.lpUrls],
  ];
  for (const [side, auto, urls] of sides) {
    const { certFile, keyFile, clientCertFile, clientKeyFile, clientCertAuth, trustedCAFile } = config[side];
    const halves: readonly (readonly [string, string, string, string])[] = [
      ["certFile", certFile, "keyFile", keyFile],
      ["clientCertFile", clientCertFile, "clientKeyFile", clientKeyFile],
    ];
    for (const [cert, certPath, key, keyPath] of halves) {
      if ((certPath === "") === (keyPath === "")) continue;
      const [is, isNot] = certPath === "" ? [key, cert] : [cert, key];
      throw incomplete(`${side}.${isNot}`, `${side}.${is} is set and ${side}.${isNot} is not`);
    }
    if (clientCertAuth && trustedCAFile === "")
      throw incomplete(`${side}.trustedCAFile`, `${side}.clientCertAuth needs ${side}.trustedCAFile`);
    const secure = urls.find(isSecure);
    if (secure !== undefined && certFile === "" && !auto)
      throw incomplete(`${side}.certFile`, `${secure} needs ${side}.certFile`);
  }
  const { tlsMinVersion, tlsMaxVersion, cipherSuites } = config;
  for (const [field, version] of Object.entries({ tlsMinVersion, tlsMaxVersion })) {
    if (version === undefined || version === "" || version === "TLS1.2" || version === "TLS1.3") continue;
    throw new ConfigError("InvalidValue", `Cannot use ${JSON.stringify(version)} as ${field}: it is "TLS1.2" or "TLS1.3"`, {
      field,
    });
  }
  if (tlsMinVersion === "TLS1.3" && tlsMaxVersion === "TLS1.2")
    throw new ConfigError("InvalidValue", "Cannot use TLS1.2 as tlsMaxVersion: tlsMinVersion is TLS1.3", {
      field: "tlsMaxVersion",
    });
  if (tlsMinVersion === "TLS1.3" && cipherSuites.length > 0)
    throw new ConfigError("InvalidValue", "Cannot choose cipherSuites: those of TLS 1.3 are not to be chosen", {
      field: "cipherSuites",
    });
}

function incomplete(field: string, why: string): ConfigError {
  return new ConfigError("IncompleteTLS", `Cannot use TLS: ${why}`, { field });
}

function checkChoices(config: Config): void {
  const { metrics, debug, logLevel, logOutput, logOutputs } = config;
  if (metrics !== "basic" && metrics !== "extensive")
    throw new ConfigError("InvalidValue", `Cannot use ${JSON.stringify(metrics)} as metrics: it is "basic" or "extensive"`, {
      field: "metrics",
    });
  if (debug && logLevel !== undefined && logLevel !== "debug")
    throw new ConfigError("InvalidValue", `Cannot use ${JSON.stringify(logLevel)} as logLevel: debug is set`, {
      field: "logLevel",
    });
  if (logOutput !== "default" && logOutputs !== undefined)
    throw new ConfigError("InvalidValue", "Cannot use both logOutput and logOutputs", { field: "logOutputs" });
}

function checkExtension(config: Config): void {
  const { userHandlers, serviceRegister, clientTLSInfo } = config;
  checkHandlerPaths(Object.keys(userHandlers));
  const isExtended = serviceRegister !== undefined || Object.keys(userHandlers).length > 0;
  if (isExtended && clientTLSInfo.crlFile !== "") {
    throw new ConfigError("InvalidHandler", "Cannot use clientTLSInfo.crlFile with handlers or services of one's own", {
      field: "clientTLSInfo.crlFile",
    });
  }
}
