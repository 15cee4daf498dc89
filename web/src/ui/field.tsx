// Form controls with their label, hint and error tied together for screen readers.
import { type InputHTMLAttributes, type ReactNode, type Ref, useId } from "react";
import css from "./field.module.css";

interface TextFieldProps extends InputHTMLAttributes<HTMLInputElement> {
  label: string;
  hint?: ReactNode;
  error?: string | null;
  ref?: Ref<HTMLInputElement>;
}

export function TextField({ label, hint, error, ...input }: TextFieldProps) {
  const id = useId();
  const described = [hint ? `${id}-hint` : null, error ? `${id}-error` : null].filter(Boolean).join(" ");
  return (
    <div className={css.field}>
      <label htmlFor={id}>{label}</label>
      <input
        {...input}
        id={id}
        className={css.text}
        aria-invalid={error ? true : undefined}
        aria-describedby={described || undefined}
      />
      {hint ? (
        <p className={css.hint} id={`${id}-hint`}>
          {hint}
        </p>
      ) : null}
      <FieldError id={`${id}-error`}>{error}</FieldError>
    </div>
  );
}

interface SelectFieldProps<T extends string> {
  label: string;
  /** The label is for screen readers alone: what is chosen says it to the rest. */
  labelHidden?: boolean;
  options: readonly { value: T; label: string }[];
  value: T;
  disabled?: boolean;
  onChange: (value: T) => void;
}

/** One of several, in little room. */
export function SelectField<T extends string>({
  label,
  labelHidden = false,
  options,
  value,
  disabled,
  onChange,
}: SelectFieldProps<T>) {
  const id = useId();
  return (
    <div className={css.field}>
      <label htmlFor={id} className={labelHidden ? css.hidden : undefined}>
        {label}
      </label>
      <select
        id={id}
        className={css.select}
        value={value}
        disabled={disabled}
        onChange={(event) => onChange(event.target.value as T)}
      >
        {options.map((option) => (
          <option key={option.value} value={option.value}>
            {option.label}
          </option>
        ))}
      </select>
    </div>
  );
}

export function FieldError({ id, children }: { id?: string; children?: string | null }) {
  if (!children) return null;
  return (
    <p className={css.error} id={id} role="alert">
      {children}
    </p>
  );
}

interface CheckboxProps {
  label: string;
  hint?: ReactNode;
  checked: boolean;
  onChange: (checked: boolean) => void;
  error?: string | null;
}

export function Checkbox({ label, hint, checked, onChange, error }: CheckboxProps) {
  const id = useId();
  return (
    <div className={css.field}>
      <div className={css.check}>
        <input
          type="checkbox"
          id={id}
          checked={checked}
          onChange={(event) => onChange(event.target.checked)}
          aria-describedby={hint ? `${id}-hint` : undefined}
        />
        <label htmlFor={id}>{label}</label>
      </div>
      {hint ? (
        <p className={`${css.hint} ${css.indented}`} id={`${id}-hint`}>
          {hint}
        </p>
      ) : null}
      <FieldError>{error}</FieldError>
    </div>
  );
}

interface SliderProps {
  label: string;
  value: number;
  min: number;
  max: number;
  step: number;
  /** How the value reads, e.g. "50 %". */
  text: string;
  onChange: (value: number) => void;
  error?: string | null;
}

export function Slider({ label, value, min, max, step, text, onChange, error }: SliderProps) {
  const id = useId();
  return (
    <div className={css.field}>
      <div className={css.row}>
        <label htmlFor={id}>{label}</label>
        <output htmlFor={id}>{text}</output>
      </div>
      <input
        type="range"
        id={id}
        className={css.range}
        value={value}
        min={min}
        max={max}
        step={step}
        aria-valuetext={text}
        onChange={(event) => onChange(event.target.valueAsNumber)}
      />
      <FieldError>{error}</FieldError>
    </div>
  );
}

interface ChoiceProps<T extends string | number> {
  legend: string;
  /** `name`: what a screen reader says in place of a short label. */
  options: { value: T; label: string; hint?: string; name?: string }[];
  value: T;
  onChange: (value: T) => void;
  error?: string | null;
}

/** One of a few: radio buttons that look like one bar. */
export function Choice<T extends string | number>({
  legend,
  options,
  value,
  onChange,
  error,
}: ChoiceProps<T>) {
  const name = useId();
  return (
    <fieldset className={css.field}>
      <legend className={css.legend}>{legend}</legend>
      <div className={css.bar}>
        {options.map((option) => (
          <label key={option.value} className={css.segment}>
            <input
              type="radio"
              name={name}
              aria-label={option.name}
              checked={option.value === value}
              onChange={() => onChange(option.value)}
            />
            <span className={css.segmentLabel}>{option.label}</span>
            {option.hint ? <span className={css.segmentHint}>{option.hint}</span> : null}
          </label>
        ))}
      </div>
      <FieldError>{error}</FieldError>
    </fieldset>
  );
}
