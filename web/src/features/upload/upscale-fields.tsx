// What to do with the photo: the parameters of an enlargement and their controls.
import { useMemo, useState } from "react";
import { fieldError } from "../../api/client";
import type { Scale, Upload, UpscaleParams } from "../../api/types";
import { Checkbox, Choice, Slider } from "../../ui/field";
import { percent, pixels } from "../../ui/format";

export interface UpscaleControl {
  /** The same object for as long as nothing changes. */
  params: UpscaleParams;
  change: (to: Partial<UpscaleParams>) => void;
}

export function useUpscale(): UpscaleControl {
  const [params, setParams] = useState<UpscaleParams>({
    scale: 2,
    auto_exposure: false,
    auto_white_balance: false,
    sharpen: 0,
  });
  return useMemo(() => ({ params, change: (to) => setParams((old) => ({ ...old, ...to })) }), [params]);
}

const FIELDS = ["scale", "auto_exposure", "auto_white_balance", "sharpen"] as const;

/** Whether `error` blames one of these controls, so that it is shown there. */
export function isOfUpscale(error: unknown): boolean {
  return FIELDS.some((field) => fieldError(error, field) !== null);
}

interface UpscaleFieldsProps {
  control: UpscaleControl;
  /** Null until the photo is verified: then the sizes are not known yet. */
  upload: Upload | null;
  error: unknown;
}

export function UpscaleFields({ control: { params, change }, upload, error }: UpscaleFieldsProps) {
  const sizeAfter = (factor: number) =>
    upload?.width && upload.height ? pixels(upload.width * factor, upload.height * factor) : undefined;
  return (
    <>
      <Choice
        legend="How much larger"
        options={([2, 3, 4] as const satisfies readonly Scale[]).map((value) => ({
          value,
          label: `${value}×`,
          hint: sizeAfter(value),
        }))}
        value={params.scale}
        onChange={(scale) => change({ scale })}
        error={fieldError(error, "scale")}
      />
      <Checkbox
        label="Correct the exposure"
        hint="Brings back a photo that is too dark or too bright."
        checked={params.auto_exposure}
        onChange={(auto_exposure) => change({ auto_exposure })}
        error={fieldError(error, "auto_exposure")}
      />
      <Checkbox
        label="Correct the colours"
        hint="Takes out a colour cast, such as that of lamp light."
        checked={params.auto_white_balance}
        onChange={(auto_white_balance) => change({ auto_white_balance })}
        error={fieldError(error, "auto_white_balance")}
      />
      <Slider
        label="Sharpen"
        value={params.sharpen}
        min={0}
        max={1}
        step={0.05}
        text={params.sharpen === 0 ? "Off" : percent(params.sharpen)}
        onChange={(sharpen) => change({ sharpen })}
        error={fieldError(error, "sharpen")}
      />
    </>
  );
}
