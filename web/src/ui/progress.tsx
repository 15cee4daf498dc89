// A progress bar. `value` is 0..1, or null while there is nothing to measure.
import css from "./progress.module.css";

export function Progress({ label, value }: { label: string; value: number | null }) {
  return (
    <progress
      className={css.bar}
      aria-label={label}
      max={100}
      {...(value === null ? {} : { value: Math.round(value * 100) })}
    />
  );
}
