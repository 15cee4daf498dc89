// The packs of credits that are sold, each with its price in the chosen currency.
import { useState } from "react";
import { errorText } from "../../api/client";
import type { Pack } from "../../api/types";
import { Button } from "../../ui/button";
import { money, moneyEach } from "../../ui/money";
import { Notice } from "../../ui/notice";
import css from "./credits.module.css";
import { useCheckout } from "./use-checkout";

export function Packs({ packs, currency }: { packs: readonly Pack[]; currency: string }) {
  const checkout = useCheckout();
  const [wanted, setWanted] = useState<string | null>(null);
  return (
    <>
      <ul className={css.tiles}>
        {packs.map((pack) => {
          const price = pack.prices[currency];
          return (
            <li key={pack.id} className={css.tile}>
              <h3>{pack.title}</h3>
              {price === undefined ? (
                <p className={css.hint}>Not sold in {currency.toUpperCase()}.</p>
              ) : (
                <>
                  <p className={css.price}>{money(price, currency, true)}</p>
                  <p className={css.hint}>{moneyEach(price, pack.millicredits / 1000, currency)} a credit</p>
                  <Button
                    look="primary"
                    aria-label={`Buy ${pack.title} for ${money(price, currency, true)}`}
                    busy={checkout.busy && wanted === pack.id}
                    onClick={() => {
                      setWanted(pack.id);
                      checkout.run({ pack: pack.id, currency });
                    }}
                  >
                    Buy
                  </Button>
                </>
              )}
            </li>
          );
        })}
      </ul>
      {checkout.error ? <Notice tone="bad">{errorText(checkout.error)}</Notice> : null}
    </>
  );
}
