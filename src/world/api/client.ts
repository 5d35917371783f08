/** A client of npm etcd3, its `Etcd3`, as far as a World can tell it from other things. */
export interface Etcd3Client {
  namespace(prefix: string): object;
  getRoles(): Promise<unknown>;
  close(): void;
}
