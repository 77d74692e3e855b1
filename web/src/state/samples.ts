// The photographs that come with the page.
import { ask } from "../api/client";

export interface Sample {
  name: string;
  file: string;
  alt: string;
  /** Its class among those of the demo model, if it has one. */
  label?: string;
}

/** Reduced from scikit-image's data: cat and coffee are CC0, the rocket is in the public domain. */
export const samples: Sample[] = [
  { name: "cat", file: "samples/cat.jpg", alt: "A cat's face", label: "cat" },
  { name: "coffee", file: "samples/coffee.jpg", alt: "A cup of coffee" },
  { name: "rocket", file: "samples/rocket.jpg", alt: "A rocket before its launch" },
];

/** Fetches a sample; the error is a Failure. */
export async function sampleFile(s: Sample, signal?: AbortSignal): Promise<File> {
  const response = await ask(s.file, signal ? { signal } : {});
  return new File([await response.blob()], s.file.split("/").pop() ?? s.name, { type: "image/jpeg" });
}
