export * from "./plan.ts";
export * from "./policy.ts";
export * from "./quorum.ts";
export * from "./snapshot.ts";
