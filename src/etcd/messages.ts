import { Protobuf } from "./protobuf.ts";

// What etcd3's rpc.proto, kv.proto and auth.proto say of the calls that are used here; a test compares them.

const enums = {
  SortOrder: ["None", "Ascend", "Descend"],
  SortTarget: ["Key", "Version", "Create", "Mod", "Value"],
  CompareResult: ["Equal", "Greater", "Less", "NotEqual"],
  CompareTarget: ["Version", "Create", "Mod", "Value", "Lease"],
  FilterType: ["Noput", "Nodelete"],
  AlarmType: ["None", "Nospace", "Corrupt"],
  AlarmAction: ["Get", "Activate", "Deactivate"],
  DowngradeAction: ["Validate", "Enable", "Cancel"],
  EventType: ["Put", "Delete"],
  PermissionType: ["Read", "Write", "Readwrite"],
} as const;

const messages = {
  ResponseHeader: "cluster_id:uint64=1 member_id:uint64=2 revision:int64=3 raft_term:uint64=4",
  RangeRequest:
    "key:bytes=1 range_end:bytes=2 limit:int64=3 revision:int64=4 sort_order:SortOrder=5 sort_target:SortTarget=6 serializable:bool=7 keys_only:bool=8 count_only:bool=9 min_mod_revision:int64=10 max_mod_revision:int64=11 min_create_revision:int64=12 max_create_revision:int64=13",
  RangeResponse: "header:ResponseHeader=1 kvs:KeyValue[]=2 more:bool=3 count:int64=4",
  PutRequest: "key:bytes=1 value:bytes=2 lease:int64=3 prev_kv:bool=4 ignore_value:bool=5 ignore_lease:bool=6",
  PutResponse: "header:ResponseHeader=1 prev_kv:KeyValue=2",
  DeleteRangeRequest: "key:bytes=1 range_end:bytes=2 prev_kv:bool=3",
  DeleteRangeResponse: "header:ResponseHeader=1 deleted:int64=2 prev_kvs:KeyValue[]=3",
  RequestOp:
    "request_range?:RangeRequest=1 request_put?:PutRequest=2 request_delete_range?:DeleteRangeRequest=3 request_txn?:TxnRequest=4",
  ResponseOp:
    "response_range?:RangeResponse=1 response_put?:PutResponse=2 response_delete_range?:DeleteRangeResponse=3 response_txn?:TxnResponse=4",
  Compare:
    "result:CompareResult=1 target:CompareTarget=2 key:bytes=3 version?:int64=4 create_revision?:int64=5 mod_revision?:int64=6 value?:bytes=7 lease?:int64=8 range_end:bytes=64",
  TxnRequest: "compare:Compare[]=1 success:RequestOp[]=2 failure:RequestOp[]=3",
  TxnResponse: "header:ResponseHeader=1 succeeded:bool=2 responses:ResponseOp[]=3",
  CompactionRequest: "revision:int64=1 physical:bool=2",
  CompactionResponse: "header:ResponseHeader=1",
  HashRequest: "",
  HashKVRequest: "revision:int64=1",
  HashKVResponse: "header:ResponseHeader=1 hash:uint32=2 compact_revision:int64=3",
  HashResponse: "header:ResponseHeader=1 hash:uint32=2",
  SnapshotRequest: "",
  SnapshotResponse: "header:ResponseHeader=1 remaining_bytes:uint64=2 blob:bytes=3",
  WatchRequest:
    "create_request?:WatchCreateRequest=1 cancel_request?:WatchCancelRequest=2 progress_request?:WatchProgressRequest=3",
  WatchCreateRequest:
    "key:bytes=1 range_end:bytes=2 start_revision:int64=3 progress_notify:bool=4 filters:FilterType[]=5 prev_kv:bool=6 watch_id:int64=7 fragment:bool=8",
  WatchCancelRequest: "watch_id:int64=1",
  WatchProgressRequest: "",
  WatchResponse:
    "header:ResponseHeader=1 watch_id:int64=2 created:bool=3 canceled:bool=4 compact_revision:int64=5 cancel_reason:string=6 fragment:bool=7 events:Event[]=11",
  LeaseGrantRequest: "TTL:int64=1 ID:int64=2",
  LeaseGrantResponse: "header:ResponseHeader=1 ID:int64=2 TTL:int64=3 error:string=4",
  LeaseRevokeRequest: "ID:int64=1",
  LeaseRevokeResponse: "header:ResponseHeader=1",
  LeaseKeepAliveRequest: "ID:int64=1",
  LeaseKeepAliveResponse: "header:ResponseHeader=1 ID:int64=2 TTL:int64=3",
  LeaseTimeToLiveRequest: "ID:int64=1 keys:bool=2",
  LeaseTimeToLiveResponse: "header:ResponseHeader=1 ID:int64=2 TTL:int64=3 grantedTTL:int64=4 keys:bytes[]=5",
  LeaseLeasesRequest: "",
  LeaseStatus: "ID:int64=1",
  LeaseLeasesResponse: "header:ResponseHeader=1 leases:LeaseStatus[]=2",
  Member: "ID:uint64=1 name:string=2 peerURLs:string[]=3 clientURLs:string[]=4 isLearner:bool=5",
  MemberAddRequest: "peerURLs:string[]=1 isLearner:bool=2",
  MemberAddResponse: "header:ResponseHeader=1 member:Member=2 members:Member[]=3",
  MemberRemoveRequest: "ID:uint64=1",
  MemberRemoveResponse: "header:ResponseHeader=1 members:Member[]=2",
  MemberUpdateRequest: "ID:uint64=1 peerURLs:string[]=2",
  MemberUpdateResponse: "header:ResponseHeader=1 members:Member[]=2",
  MemberListRequest: "linearizable:bool=1",
  MemberListResponse: "header:ResponseHeader=1 members:Member[]=2",
  MemberPromoteRequest: "ID:uint64=1",
  MemberPromoteResponse: "header:ResponseHeader=1 members:Member[]=2",
  DefragmentRequest: "",
  DefragmentResponse: "header:ResponseHeader=1",
  MoveLeaderRequest: "targetID:uint64=1",
  MoveLeaderResponse: "header:ResponseHeader=1",
  AlarmRequest: "action:AlarmAction=1 memberID:uint64=2 alarm:AlarmType=3",
  AlarmMember: "memberID:uint64=1 alarm:AlarmType=2",
  AlarmResponse: "header:ResponseHeader=1 alarms:AlarmMember[]=2",
  DowngradeRequest: "action:DowngradeAction=1 version:string=2",
  DowngradeResponse: "header:ResponseHeader=1 version:string=2",
  StatusRequest: "",
  StatusResponse:
    "header:ResponseHeader=1 version:string=2 dbSize:int64=3 leader:uint64=4 raftIndex:uint64=5 raftTerm:uint64=6 raftAppliedIndex:uint64=7 errors:string[]=8 dbSizeInUse:int64=9 isLearner:bool=10",
  AuthEnableRequest: "",
  AuthEnableResponse: "header:ResponseHeader=1",
  UserAddOptions: "no_password:bool=1",
  AuthUserAddRequest: "name:string=1 password:string=2 options:UserAddOptions=3",
  AuthUserAddResponse: "header:ResponseHeader=1",
  AuthUserChangePasswordRequest: "name:string=1 password:string=2",
  AuthUserChangePasswordResponse: "header:ResponseHeader=1",
  AuthUserGrantRoleRequest: "user:string=1 role:string=2",
  AuthUserGrantRoleResponse: "header:ResponseHeader=1",
  AuthRoleAddRequest: "name:string=1",
  AuthRoleAddResponse: "header:ResponseHeader=1",
  Permission: "permType:PermissionType=1 key:bytes=2 range_end:bytes=3",
  AuthRoleGrantPermissionRequest: "name:string=1 perm:Permission=2",
  AuthRoleGrantPermissionResponse: "header:ResponseHeader=1",
  AuthenticateRequest: "name:string=1 password:string=2",
  AuthenticateResponse: "header:ResponseHeader=1 token:string=2",
  KeyValue: "key:bytes=1 create_revision:int64=2 mod_revision:int64=3 version:int64=4 value:bytes=5 lease:int64=6",
  Event: "type:EventType=1 kv:KeyValue=2 prev_kv:KeyValue=3",
} as const;

type Message = keyof typeof messages;

/** By etcd3's names: a method's name on the wire, its request, its response. */
const services: Readonly<Record<string, Readonly<Record<string, readonly [string, Message, Message]>>>> = {
  KV: {
    range: ["Range", "RangeRequest", "RangeResponse"],
    put: ["Put", "PutRequest", "PutResponse"],
    deleteRange: ["DeleteRange", "DeleteRangeRequest", "DeleteRangeResponse"],
    txn: ["Txn", "TxnRequest", "TxnResponse"],
    compact: ["Compact", "CompactionRequest", "CompactionResponse"],
  },
  Watch: {
    watch: ["Watch", "WatchRequest", "WatchResponse"],
  },
  Lease: {
    leaseGrant: ["LeaseGrant", "LeaseGrantRequest", "LeaseGrantResponse"],
    leaseRevoke: ["LeaseRevoke", "LeaseRevokeRequest", "LeaseRevokeResponse"],
    leaseKeepAlive: ["LeaseKeepAlive", "LeaseKeepAliveRequest", "LeaseKeepAliveResponse"],
    leaseTimeToLive: ["LeaseTimeToLive", "LeaseTimeToLiveRequest", "LeaseTimeToLiveResponse"],
    leaseLeases: ["LeaseLeases", "LeaseLeasesRequest", "LeaseLeasesResponse"],
  },
  Cluster: {
    memberAdd: ["MemberAdd", "MemberAddRequest", "MemberAddResponse"],
    memberRemove: ["MemberRemove", "MemberRemoveRequest", "MemberRemoveResponse"],
    memberUpdate: ["MemberUpdate", "MemberUpdateRequest", "MemberUpdateResponse"],
    memberList: ["MemberList", "MemberListRequest", "MemberListResponse"],
    memberPromote: ["MemberPromote", "MemberPromoteRequest", "MemberPromoteResponse"],
  },
  Maintenance: {
    alarm: ["Alarm", "AlarmRequest", "AlarmResponse"],
    status: ["Status", "StatusRequest", "StatusResponse"],
    defragment: ["Defragment", "DefragmentRequest", "DefragmentResponse"],
    hash: ["Hash", "HashRequest", "HashResponse"],
    hashKV: ["HashKV", "HashKVRequest", "HashKVResponse"],
    snapshot: ["Snapshot", "SnapshotRequest", "SnapshotResponse"],
    moveLeader: ["MoveLeader", "MoveLeaderRequest", "MoveLeaderResponse"],
    downgrade: ["Downgrade", "DowngradeRequest", "DowngradeResponse"],
  },
  Auth: {
    authEnable: ["AuthEnable", "AuthEnableRequest", "AuthEnableResponse"],
    userAdd: ["UserAdd", "AuthUserAddRequest", "AuthUserAddResponse"],
    userChangePassword: ["UserChangePassword", "AuthUserChangePasswordRequest", "AuthUserChangePasswordResponse"],
    userGrantRole: ["UserGrantRole", "AuthUserGrantRoleRequest", "AuthUserGrantRoleResponse"],
    roleAdd: ["RoleAdd", "AuthRoleAddRequest", "AuthRoleAddResponse"],
    roleGrantPermission: ["RoleGrantPermission", "AuthRoleGrantPermissionRequest", "AuthRoleGrantPermissionResponse"],
    authenticate: ["Authenticate", "AuthenticateRequest", "AuthenticateResponse"],
  },
};

export const protobuf = new Protobuf(messages, enums);

export interface Method {
  /** As in the header `:path`. */
  readonly path: string;
  readonly serialize: (request: object) => Buffer;
  readonly deserialize: (bytes: Buffer) => object;
}

const made = new Map<string, Method>();

/** Throws TypeError where there is none: a bug. */
export function methodOf(service: string, method: string): Method {
  const id = `${service}.${method}`;
  const known = made.get(id);
  if (known !== undefined) return known;
  const found = services[service]?.[method];
  if (found === undefined) throw new TypeError(`There is no method ${id}`);
  const [name, request, response] = found;
  const one: Method = {
    path: `/etcdserverpb.${service}/${name}`,
    serialize: (value) => protobuf.encode(request, value),
    deserialize: (bytes) => protobuf.decode(response, bytes),
  };
  made.set(id, one);
  return one;
}
