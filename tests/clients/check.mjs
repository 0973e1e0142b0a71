// Prints one line per check. run.sh counts these lines.
let failed = 0;

/** Runs a check, and prints its result. */
export async function check(name, run) {
  try {
    await run();
    console.log(`  ok: ${name}`);
  } catch (error) {
    failed += 1;
    console.log(`  FAILED: ${name}: ${error instanceof Error ? error.message : JSON.stringify(error)}`);
  }
}

/** Exits, even if connections are still open. */
export const finish = () => process.exit(failed === 0 ? 0 : 1);
