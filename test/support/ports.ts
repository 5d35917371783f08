export { freePorts } from "../../src/cli/demo/ports.ts";
