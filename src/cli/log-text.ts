/** How a log record of an agent reads for people, at a terminal as in a demo. Pure. */

/** What every line has, or what is told in words already. */
const told = new Set([
  "level",
  "time",
  "msg",
  "pid",
  "host",
  "hostname",
  "part",
  "err",
  "because",
  "done",
  "revision",
  "member",
  "memberId",
  "clusterId",
]);

export interface LogText {
  /** `step carried out: 1 seat of 3; h5 is the first of the spares` */
  readonly message: string;
  /** `step=nominate agent=h5`, or empty. */
  readonly fields: string;
}

export function logText(record: Readonly<Record<string, unknown>>): LogText {
  const message = typeof record["msg"] === "string" ? record["msg"] : "";
  const etcd = serverFields(record);
  const why = [record["because"], ...errorsOf(record["err"]), etcd?.["error"]].filter(
    (one) => typeof one === "string" && one !== "",
  );
  const fields = Object.entries(record).flatMap(([name, value]) => (told.has(name) || value === etcd ? [] : field(name, value)));
  return { message: [...(etcd ? ["etcd"] : []), message, ...why].join(": "), fields: fields.join(" ") };
}

/** What etcd itself said beside its message; undefined for a line of ours. */
export function serverFields(record: Readonly<Record<string, unknown>>): Readonly<Record<string, unknown>> | undefined {
  const { etcd } = record;
  return typeof etcd === "object" && etcd !== null ? (etcd as Record<string, unknown>) : undefined;
}

/** The messages of an error as pino writes it, the outermost first. pino joins the chain in the first one's message. */
function errorsOf(error: unknown): unknown[] {
  return typeof error === "object" && error !== null && "message" in error ? [error.message] : [];
}

/** `step=nominate agent=h5` for `step: { kind: "nominate", agent: "h5", standby: false }`. */
function field(name: string, value: unknown): string[] {
  if (value === undefined || value === null || value === false) return [];
  if (typeof value === "object" && !Array.isArray(value)) {
    const { kind, on, ...rest } = value as Record<string, unknown>;
    const word = kind ?? on;
    const inner = Object.entries(rest).flatMap(([key, one]) => (told.has(key) ? [] : field(key, one)));
    return [...(typeof word === "string" ? [`${name}=${word}`] : []), ...inner];
  }
  const text = Array.isArray(value) && value.every((one) => typeof one === "string") ? value.join(",") : value;
  return [`${name}=${typeof text === "string" && /^[^\s"]*$/.test(text) ? text : JSON.stringify(text)}`];
}

/**
 * What etcd says at level info, some 40 lines at each start, and the warnings that every plain start and stop comes with: for
 * whoever looks for a fault in etcd.
 */
export function isServerChatter(record: Readonly<Record<string, unknown>>): boolean {
  if (!serverFields(record) || typeof record["level"] !== "number") return false;
  return record["level"] < 40 || (record["level"] === 40 && usualWarnings.test(String(record["msg"])));
}

const usualWarnings =
  /^(Running http and grpc server on single port|simple token is not cryptographically signed|serving client traffic insecurely|stopp(ing|ed) insecure grpc server|failed to apply request|rejected connection on peer endpoint|closed TCP streaming connection|stopped TCP streaming)/;
