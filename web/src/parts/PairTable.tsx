import type { Agreement, Pair } from "../api/client";
import { closely } from "../device/agreement";
import { digits, percent, small } from "../state/format";
import { num, Table } from "./Table";

/** Agrees or differs, in word, sign and colour. */
export function Verdict({ good, words }: { good: boolean; words?: [string, string] }) {
  const [yes, no] = words ?? ["agrees", "differs"];
  return good ? <span class="good">✓ {yes}</span> : <span class="bad">✗ {no}</span>;
}

export const agreementColumns = [num("max |Δ|"), num("max |logit|"), num("SNR"), num("cosine")];
export const agreementCells = (a: Agreement) => [small(a.max_abs), digits(a.scale), `${a.snr_db.toFixed(1)} dB`, a.cosine.toFixed(7)];

/** How the logits of each second target are to those of the first. */
export function PairTable({ pairs, caption }: { pairs: Pair[]; caption?: string }) {
  return (
    <Table
      caption={caption ?? "Logits of the second target against the first. Two fp32 targets agree within a thousandth of the largest logit and 80 dB; where one computes in less, both must name the same class first"}
      columns={["pair", "verdict", "top-1", ...agreementColumns, num("KL"), num("top-5 overlap")]}
      rows={pairs.map((p) => ({
        key: `${p.a} ${p.b}`,
        cells: [
          `${p.a} / ${p.b}`,
          <Verdict good={p.agrees} words={[closely(p) ? "agrees" : "same class", "differs"]} />,
          p.top1_equal ? "equal" : <span class="bad">differs</span>,
          ...agreementCells(p),
          small(p.kl),
          percent(p.top5_overlap),
        ],
      }))}
    />
  );
}
