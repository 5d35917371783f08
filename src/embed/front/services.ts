import {
  type deserialize,
  type handleBidiStreamingCall,
  type handleClientStreamingCall,
  type handleServerStreamingCall,
  type handleUnaryCall,
  type serialize,
  Server,
  ServerCredentials,
} from "@grpc/grpc-js";
import { checkServicePaths } from "./paths.ts";

type handleCall<Request, Response> =
  | handleUnaryCall<Request, Response>
  | handleClientStreamingCall<Request, Response>
  | handleServerStreamingCall<Request, Response>
  | handleBidiStreamingCall<Request, Response>;

/** gRPC services of a program, behind a socket of their own. */
export interface Services {
  /** Of all methods. */
  readonly paths: ReadonlySet<string>;
  close(): void;
}

/**
 * Has services registered and listens for them.
 *
 * @throws ConfigError InvalidHandler for a service of etcd's own; what `register` throws
 */
export async function listenForServices(register: (server: Server) => void, socketPath: string): Promise<Services> {
  const paths = new Set<string>();
  class Recording extends Server {
    override register<Request, Response>(
      path: string,
      ...method: [handleCall<Request, Response>, serialize<Response>, deserialize<Request>, string]
    ): boolean {
      paths.add(path);
      return super.register(path, ...method);
    }
  }
  const server = new Recording({
    "grpc.max_receive_message_length": -1,
    "grpc.max_send_message_length": -1,
  });
  register(server);
  checkServicePaths([...paths]);
  await new Promise<void>((resolve, reject) => {
    server.bindAsync(`unix://${socketPath}`, ServerCredentials.createInsecure(), (error) => {
      if (error === null) resolve();
      else reject(error);
    });
  });
  return { paths, close: () => server.forceShutdown() };
}
