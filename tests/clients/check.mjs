// One line a check, as run.sh counts them.
let failed = 0;

/** Runs a check, and says how it went. */
export async function check(name, run) {
  try {
    await run();
    console.log(`  ok: ${name}`);
  } catch (error) {
    failed += 1;
    console.log(`  FAILED: ${name}: ${error instanceof Error ? error.message : JSON.stringify(error)}`);
  }
}

/** Ends the program; what is still open keeps nobody waiting. */
export const finish = () => process.exit(failed === 0 ? 0 : 1);
