// Says that no real money moves, wherever money is spoken of.
import { Notice } from "../../ui/notice";
import { playMoney } from "./play-money";

export function PlayMoneyNotice() {
  const play = playMoney();
  if (play === "no") return null;
  return (
    <Notice>
      <strong>Play money.</strong>{" "}
      {play === "yes"
        ? "A stand-in takes the payment service’s place here: nothing is charged, and no card is asked for."
        : "This Kiln runs on your own machine. Unless it was given a key of the payment service, nothing is charged; the checkout page says so."}
    </Notice>
  );
}
