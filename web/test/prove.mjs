// The browser jobs of `cargo xtask prove`: node prove.mjs JOB ARGUMENTS. Arguments and result are JSON.
import * as jobs from "./jobs.mjs";

const [job, given] = process.argv.slice(2);
if (!(job in jobs)) throw new Error(`no job is called ${job}; there are ${Object.keys(jobs).join(", ")}`);
console.log(JSON.stringify(await jobs[job](JSON.parse(given))));
