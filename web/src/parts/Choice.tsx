import type { ComponentChildren } from "preact";

/** A labelled choice of one of several names. */
export function Choice({ label, value, options, onChange }: {
  label: string;
  value: string;
  options: (string | { value: string; text: string; disabled?: boolean })[];
  onChange: (value: string) => void;
}) {
  const there = options.some((o) => (typeof o === "string" ? o : o.value) === value);
  return (
    <label class="field">
      {label}
      <select value={value} onChange={(e) => onChange(e.currentTarget.value)}>
        {!there && <option value={value} selected>{value ? `${value} (there is none)` : "choose …"}</option>}
        {options.map((o) => {
          const { value: v, text, disabled } = typeof o === "string" ? { value: o, text: o, disabled: false } : o;
          return <option key={v} value={v} disabled={disabled ?? false} selected={v === value}>{text}</option>;
        })}
      </select>
    </label>
  );
}

/** A labelled box to tick. */
export function Tick({ checked, onChange, children, disabled }: {
  checked: boolean;
  onChange: (checked: boolean) => void;
  children: ComponentChildren;
  disabled?: boolean;
}) {
  return (
    <label class="tick">
      <input type="checkbox" checked={checked} disabled={disabled ?? false} onChange={(e) => onChange(e.currentTarget.checked)} />
      <span>{children}</span>
    </label>
  );
}

/** A labelled number. onChange gets none that is out of bounds. */
export function NumberField({ label, value, min, max, step, onChange }: {
  label: string;
  value: number;
  min: number;
  max?: number;
  step?: number | "any";
  onChange: (value: number) => void;
}) {
  return (
    <label class="field">
      {label}
      <input
        type="number"
        value={value}
        min={min}
        {...(max === undefined ? {} : { max })}
        step={step ?? 1}
        required
        onInput={(e) => {
          const v = e.currentTarget.valueAsNumber;
          // What is out of bounds is the form's to complain about.
          if (v >= min && v <= (max ?? Infinity) && (step === "any" || Number.isInteger(v))) onChange(v);
        }}
      />
    </label>
  );
}
