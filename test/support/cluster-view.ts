import type { ClusterView, Host } from "../../src/cli/cluster.ts";
import type { EndpointStatus } from "../../src/etcd/index.ts";

/** One host of a made-up look. `id` is the hex of its number: h1 is member 1. */
export function host(
  name: string,
  change: Partial<Host> & { readonly seat?: "voter" | "learner"; readonly silent?: boolean; readonly leader?: string } = {},
): Host {
  const { seat, silent, leader = "1", ...rest } = change;
  const id = name.replace(/\D/g, "");
  const status: EndpointStatus = {
    clusterId: "c1",
    memberId: id,
    version: "3.5.30",
    dbSize: 20_480,
    dbSizeInUse: 20_480,
    raftLeader: leader,
    raftTerm: 2,
    raftIndex: 100,
    appliedIndex: 100,
    learner: seat === "learner",
    revision: 9,
    errors: [],
  };
  return {
    name,
    agent: {
      schema: 1,
      identity: "00000000-0000-0000-0000-000000000000",
      instance: "00000000-0000-0000-0000-000000000000",
      quorate: "0.1.0",
      zone: "",
      priority: 0,
      volunteering: true,
      server: seat ? "serving" : "none",
      proof: "",
    },
    member: seat && {
      id,
      name,
      peerUrls: [`http://${name}:2380`],
      clientUrls: [`http://${name}:2379`],
      learner: seat === "learner",
    },
    answer: seat && (silent ? { refused: "connection refused" } : { status }),
    volunteers: true,
    nominated: seat !== undefined,
    leaving: false,
    restarting: false,
    passedOver: undefined,
    ...rest,
  };
}

/** A look at a cluster that h1 founded and leads, settled unless told otherwise. */
export function view(hosts: readonly Host[], change: Partial<ClusterView> = {}): ClusterView {
  const members = hosts.filter((one) => one.member);
  const voters = members.filter((one) => one.member?.learner === false).length;
  const ideal = change.ideal ?? members.length;
  return {
    clusterId: "c1",
    revision: 9,
    endpoint: "http://h1:2379",
    marker: { schema: 1, clusterId: "c1", foundedBy: "h1" },
    sizeText: String(ideal),
    ideal,
    leader: "h1",
    plan: {
      schema: 1,
      leader: "h1",
      ideal,
      kind: "settled",
      because: `${members.length} members of ${ideal}`,
      failureTolerance: voters - Math.floor(voters / 2) - 1,
      voters,
      learners: members.length - voters,
      notices: [],
    },
    evenVoters: false,
    standbys: 0,
    maxSeats: 7,
    chooser: "dynamicsize",
    paused: undefined,
    closed: undefined,
    hosts,
    ...change,
  };
}
