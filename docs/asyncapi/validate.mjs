// Reads an AsyncAPI document from standard input; prints what is wrong with it, a line for each; exit code 1 if anything is.
import { readFileSync } from "node:fs";
import { Parser } from "@asyncapi/parser";

const ERROR_OR_WARNING = 1;

const { diagnostics } = await new Parser().parse(readFileSync(0, "utf8"));
const faults = diagnostics.filter(({ severity }) => severity <= ERROR_OR_WARNING);
for (const { path, message, code } of faults) console.log(`${path.join("/")}: ${message} (${code})`);
process.exitCode = faults.length > 0 ? 1 : 0;
