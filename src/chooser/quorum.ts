/** Voters that must agree before a cluster of `voters` members commits anything. */
export function quorumOf(voters: number): number {
  return Math.floor(voters / 2) + 1;
}

/** Whether `healthy` of `voters` can still commit. False for a cluster without voters. */
export function keepsQuorum(voters: number, healthy: number): boolean {
  return healthy >= quorumOf(voters);
}

/** How many more voters may die before quorum is lost; negative when it is lost already. */
export function failureTolerance(voters: number, healthy: number): number {
  return healthy - quorumOf(voters);
}
