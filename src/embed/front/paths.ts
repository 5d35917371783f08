import { ConfigError } from "../config/error.ts";

/** What an etcd of any version answers itself on its client URLs, each with all below it. */
const ofEtcd: readonly string[] = [
  "/config",
  "/debug",
  "/health",
  "/livez",
  "/machines",
  "/members",
  "/metrics",
  "/readyz",
  "/v2",
  "/v3",
  "/v3alpha",
  "/v3beta",
  "/version",
];

/** Packages of etcd's own gRPC services, and of those that every gRPC server of it has. */
const servicesOfEtcd = /^\/?(etcdserverpb|v3electionpb|v3lockpb|authpb|gatewaypb|grpc\.health\.v1|grpc\.reflection)\b/;

/** The first of those paths that is in another's or etcd's way. @throws ConfigError InvalidHandler */
export function checkHandlerPaths(paths: readonly string[]): void {
  for (const path of paths) {
    const invalid = (why: string): ConfigError =>
      new ConfigError("InvalidHandler", `Cannot answer ${JSON.stringify(path)} by a handler: ${why}`, { field: "userHandlers" });
    if (!path.startsWith("/")) throw invalid("a path begins with a slash");
    if (path.includes("?") || path.includes("#") || path !== new URL(path, "http://localhost").pathname)
      throw invalid("it is no path as a request has it");
    if (path === "/") throw invalid("all that etcd answers is below it");
    const own = ofEtcd.find((one) => path === one || path.startsWith(`${one}/`));
    if (own !== undefined || servicesOfEtcd.test(path)) throw invalid("etcd answers that itself");
  }
}

/** @throws ConfigError InvalidHandler */
export function checkServicePaths(paths: readonly string[]): void {
  const own = paths.find((path) => servicesOfEtcd.test(path));
  if (own === undefined) return;
  throw new ConfigError("InvalidHandler", `Cannot add a service that answers ${own}: etcd answers that itself`, {
    field: "serviceRegister",
  });
}

/** Of the paths of `handlers`, the longest that the path of a request fits. */
export function handlerFor<T>(handlers: ReadonlyMap<string, T>, url: string): T | undefined {
  const path = url.replace(/[?#].*$/, "");
  const exact = handlers.get(path);
  if (exact !== undefined) return exact;
  for (let end = path.lastIndexOf("/"); end > 0; end = path.lastIndexOf("/", end - 1)) {
    const above = handlers.get(path.slice(0, end + 1));
    if (above !== undefined) return above;
  }
  return undefined;
}
