import { QuorateError } from "../../errors.ts";

/** What is wrong with a configuration. The first two are those that the reference exports; the others it returns without a name. */
export type ConfigErrorName =
  | "ConflictBootstrapFlags"
  | "UnsetAdvertiseClientURLsFlag"
  | "InvalidURL"
  | "ExpectedIP"
  | "InvalidClusterState"
  | "InvalidInitialCluster"
  | "InvalidElectionTimeout"
  | "InvalidCompaction"
  | "IncompleteTLS"
  | "InvalidHandler"
  | "InvalidValue"
  | "UnknownOption"
  | "UnreadableFile"
  | "UnsupportedByEtcd";

/** Nothing was started. `error` says which rule, `field` which field of the Config breaks it. Its code is INVALID_OPTION, exit code 2. */
export class ConfigError extends QuorateError {
  readonly error: ConfigErrorName;
  readonly field: string | undefined;

  constructor(
    error: ConfigErrorName,
    message: string,
    details: { readonly field?: string; readonly hint?: string; readonly cause?: unknown } = {},
  ) {
    const { field, hint, cause } = details;
    super("INVALID_OPTION", message, {
      ...(hint === undefined ? {} : { hint }),
      ...(cause === undefined ? {} : { cause }),
      data: { error, ...(field === undefined ? {} : { field }) },
    });
    this.name = "ConfigError";
    this.error = error;
    this.field = field;
  }
}
