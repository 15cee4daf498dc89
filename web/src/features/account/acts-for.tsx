// For whom the tab acts: oneself, or an organisation that one belongs to. Not there without organisations.
import { useEffect } from "react";
import { useLocation, useNavigate } from "react-router";
import { orgs as api } from "../../api/endpoints";
import { SelectField } from "../../ui/field";
import { useLoad } from "../../ui/use-load";
import { useSession } from "../sign-in/session";
import css from "./acts-for.module.css";
import { onOrgsChanged } from "./orgs-changed";

const list = (signal: AbortSignal) => api.list(signal);

export function ActsFor() {
  const session = useSession();
  const { pathname } = useLocation();
  const navigate = useNavigate();
  const { data, reload } = useLoad(list);
  useEffect(() => onOrgsChanged(reload), [reload]);

  const signedIn = session.state === "signed-in";
  const personId = signedIn ? session.account.id : "";
  const accountId = signedIn ? session.accountId : "";
  const orgs = data?.items ?? [];
  const { act } = session;

  // Taken out of the organisation, or it is gone: everything would answer that there is no such thing.
  const lost = data !== null && accountId !== personId && !orgs.some((org) => org.id === accountId);
  useEffect(() => {
    if (lost) act(null);
  }, [lost, act]);

  if (orgs.length === 0) return null;
  return (
    <div className={css.actsFor}>
      <SelectField
        label="Act for"
        labelHidden
        options={[
          { value: personId, label: "Myself" },
          ...orgs.map((org) => ({ value: org.id, label: org.name })),
        ]}
        value={accountId}
        onChange={(id) => {
          act(id === personId ? null : id);
          // A job belongs to one account: seen from another there is no such thing.
          if (pathname.startsWith("/jobs/")) navigate("/");
        }}
      />
    </div>
  );
}
