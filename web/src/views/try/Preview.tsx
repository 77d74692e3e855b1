import { useEffect, useRef, useState } from "preact/hooks";

import type { Comparison } from "../../api/client";
import { bytes } from "../../state/format";

const side = 220;

/** The photograph, as far as this browser can read it. */
export function Preview({ file, image }: { file: File; image: Comparison["image"] | undefined }) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const [readable, setReadable] = useState(true);
  useEffect(() => {
    let gone = false;
    createImageBitmap(file).then(
      (bitmap) => {
        const c = canvas.current;
        if (!c || gone) return;
        const scale = Math.min(1, side / Math.max(bitmap.width, bitmap.height));
        c.width = Math.max(1, Math.round(bitmap.width * scale));
        c.height = Math.max(1, Math.round(bitmap.height * scale));
        c.getContext("2d")?.drawImage(bitmap, 0, 0, c.width, c.height);
        bitmap.close();
        setReadable(true);
      },
      () => !gone && setReadable(false), // TIFF, for one: the server reads more formats than browsers do
    );
    return () => {
      gone = true;
    };
  }, [file]);
  return (
    <figure class="preview">
      <canvas ref={canvas} width="1" height="1" role="img" aria-label="The photograph" hidden={!readable} />
      <figcaption class="soft">
        {image ? `${image.format}, ${image.width} × ${image.height}, ${bytes(image.bytes)}` : file.name}
        {!readable && "; this browser cannot show it"}
      </figcaption>
    </figure>
  );
}
