import { useEffect, useRef, useState } from "preact/hooks";

import type { Trouble } from "../../api/client";
import { Problem } from "../../parts/Problem";

/** What a refused or missing camera means, in words. */
export function cameraTrouble(err: unknown): Trouble {
  const title = "No picture from the camera";
  switch (err instanceof DOMException ? err.name : "") {
    case "NotAllowedError":
      return { title, detail: "The browser was not allowed to use it. Allow the camera for this page in the browser's site settings, or choose a file." };
    case "NotFoundError":
    case "OverconstrainedError":
      return { title, detail: "This device has no camera. Choose a file instead." };
    case "NotReadableError":
      return { title, detail: "Another program uses it. Close that, or choose a file." };
  }
  return { title, detail: `${String(err)}. Choose a file instead.` };
}

/** Shows what the camera sees and takes one picture of it. */
export function Camera({ onPicture, onClose }: { onPicture: (f: File) => void; onClose: () => void }) {
  const video = useRef<HTMLVideoElement>(null);
  const [ready, setReady] = useState(false);
  const [trouble, setTrouble] = useState<Trouble>();
  useEffect(() => {
    let gone = false;
    let stream: MediaStream | undefined;
    const begin = async () => {
      // Browsers give pages a camera only over HTTPS and on this machine itself.
      if (!navigator.mediaDevices) throw "Over plain HTTP browsers give the camera only to pages of this machine";
      stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
      if (gone || !video.current) return stop();
      video.current.srcObject = stream;
      await video.current.play();
      if (!gone) setReady(true);
    };
    const stop = () => stream?.getTracks().forEach((t) => t.stop());
    begin().catch((err: unknown) => !gone && setTrouble(cameraTrouble(err)));
    return () => {
      gone = true;
      stop();
    };
  }, []);
  const take = () => {
    const v = video.current;
    if (!v) return;
    const canvas = document.createElement("canvas");
    canvas.width = v.videoWidth;
    canvas.height = v.videoHeight;
    canvas.getContext("2d")?.drawImage(v, 0, 0);
    canvas.toBlob((blob) => blob && onPicture(new File([blob], "camera.jpg", { type: "image/jpeg" })), "image/jpeg", 0.95);
  };
  return (
    <section class="camera" aria-label="Camera">
      {trouble ? <Problem trouble={trouble} /> : <video ref={video} muted playsInline aria-label="What the camera sees" />}
      <p class="controls">
        {!trouble && <button type="button" disabled={!ready} onClick={take}>Take the picture</button>}
        <button type="button" onClick={onClose}>Close the camera</button>
      </p>
    </section>
  );
}
