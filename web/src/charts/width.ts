import { useEffect, useRef, useState } from "preact/hooks";

/** A ref and the width of its element in CSS pixels. */
export function useWidth() {
  const ref = useRef<HTMLElement>(null);
  const [width, set] = useState(320);
  useEffect(() => {
    const element = ref.current;
    if (!element) return;
    const observer = new ResizeObserver(([entry]) => entry && set(Math.max(240, Math.floor(entry.contentRect.width))));
    observer.observe(element);
    return () => observer.disconnect();
  }, []);
  return [ref, width] as const;
}
