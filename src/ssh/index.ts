export { nameOf, parseLogin, sshRoute } from "./options.ts";
export type { SshHop, SshLogin, SshOptions, SshRoute } from "./options.ts";
