/** Files and rules of one side's TLS: that towards clients, or that among peers. A file that is not named is `""`. */
export interface TLSInfo {
  certFile: string;
  keyFile: string;
  /** Shown where this server is itself a client; the certificate of the server otherwise. etcd 3.5 or later. */
  clientCertFile: string;
  /** etcd 3.5 or later. */
  clientKeyFile: string;
  /** Whoever connects has to show a certificate that `trustedCAFile` signed. */
  clientCertAuth: boolean;
  trustedCAFile: string;
  crlFile: string;
  /** Common names that are let in; empty: all. Among peers only. */
  allowedCNs: string[];
  /** Host names that are let in; empty: all. */
  allowedHostnames: string[];
  /** Among peers only. */
  skipClientSANVerify: boolean;
}

export function newTLSInfo(): TLSInfo {
  return {
    certFile: "",
    keyFile: "",
    clientCertFile: "",
    clientKeyFile: "",
    clientCertAuth: false,
    trustedCAFile: "",
    crlFile: "",
    allowedCNs: [],
    allowedHostnames: [],
    skipClientSANVerify: false,
  };
}

/** Neither half of a certificate is named. */
export function isEmptyTLS({ certFile, keyFile }: TLSInfo): boolean {
  return certFile === "" && keyFile === "";
}
