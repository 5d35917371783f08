export * from "./dynamic-size.ts";
export * from "./facts.ts";
export * from "./plan.ts";
export * from "./policy.ts";
export * from "./quorum.ts";
export * from "./rehearse.ts";
export * from "./render.ts";
export * from "./snapshot.ts";
