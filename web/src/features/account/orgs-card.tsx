// Organisations: made, their members with their roles, invites, renamed, left, deleted.
import { useCallback, useState } from "react";
import { errorText, newIdempotencyKey } from "../../api/client";
import { orgs as api } from "../../api/endpoints";
import type { Member, Org, Role } from "../../api/types";
import { Button } from "../../ui/button";
import { Dialog } from "../../ui/dialog";
import { SelectField, TextField } from "../../ui/field";
import { onDay } from "../../ui/format";
import { Notice } from "../../ui/notice";
import { Card } from "../../ui/page";
import { Progress } from "../../ui/progress";
import { useAction, useLoad } from "../../ui/use-load";
import { useSession } from "../sign-in/session";
import css from "./account.module.css";
import { DeleteOrg, RenameOrg } from "./org-settings";
import { orgsChanged } from "./orgs-changed";
import { mayManage, ROLE_NAMES, rolesFor, rolesToGive } from "./roles";

const list = (signal: AbortSignal) => api.list(signal);

export function OrgsCard() {
  const session = useSession();
  const orgs = useLoad(list);
  const [name, setName] = useState("");
  const [open, setOpen] = useState<string | null>(null);
  const [gone, setGone] = useState<string | null>(null);
  const create = useAction(async () => {
    const made = await api.create(name.trim(), newIdempotencyKey());
    setName("");
    setOpen(made.id);
    setGone(null);
    changed();
  });
  const changed = () => {
    orgs.reload();
    orgsChanged();
  };
  const deleted = (org: Org) => {
    setOpen(null);
    setGone(org.name);
    // Whoever acts for it acts for themselves again: it would answer nothing any more.
    if (session.state === "signed-in" && session.accountId === org.id) session.act(null);
    changed();
  };
  const error = create.error ?? orgs.error;
  return (
    <Card label="Organisations">
      <h2>Organisations</h2>
      {gone ? <Notice tone="good">{gone} is deleted. Its files are removed within minutes.</Notice> : null}
      <ul className={css.list}>
        {(orgs.data?.items ?? []).map((org) => (
          <li key={org.id}>
            <div className={css.item}>
              <div className={css.words}>
                {org.name}
                <p className={css.hint}>
                  You are its {org.role} · {org.members} {org.members === 1 ? "member" : "members"} · {org.id}
                </p>
              </div>
              <Button
                onClick={() => setOpen(open === org.id ? null : org.id)}
                aria-expanded={open === org.id}
                aria-label={`${open === org.id ? "Close" : openText(org)} ${org.name}`}
              >
                {open === org.id ? "Close" : openText(org)}
              </Button>
            </div>
            {open === org.id ? (
              <div className={`${css.inside} ${css.parts}`}>
                <Members org={org} changed={changed} />
                {org.role === "member" ? null : <RenameOrg org={org} renamed={changed} />}
                {org.role === "owner" ? <DeleteOrg org={org} deleted={() => deleted(org)} /> : null}
              </div>
            ) : null}
          </li>
        ))}
      </ul>
      <form
        className={css.row}
        onSubmit={(event) => {
          event.preventDefault();
          create.run();
        }}
      >
        <TextField
          label="Name of a new organisation"
          value={name}
          maxLength={80}
          required
          autoComplete="off"
          onChange={(event) => setName(event.target.value)}
        />
        <Button type="submit" busy={create.busy}>
          Make an organisation
        </Button>
      </form>
      {error ? <Notice tone="bad">{errorText(error)}</Notice> : null}
    </Card>
  );
}

function openText(org: Org): string {
  return org.role === "member" ? "Members" : "Manage";
}

function Members({ org, changed }: { org: Org; changed: () => void }) {
  const session = useSession();
  const me = session.state === "signed-in" ? session.account.id : "";
  const manages = org.role !== "member";
  const members = useLoad(useCallback((signal: AbortSignal) => api.members(org.id, signal), [org.id]));
  const load = useCallback((signal: AbortSignal) => api.invites(org.id, signal), [org.id]);
  const invites = useLoad(manages ? load : null);
  const [email, setEmail] = useState("");
  const [role, setRole] = useState<Role>("member");
  const invite = useAction(async () => {
    await api.invite(org.id, { email: email.trim(), role }, newIdempotencyKey());
    setEmail("");
    invites.reload();
  });
  const revoke = useAction(async (id: string) => {
    await api.revokeInvite(org.id, id);
    invites.reload();
  });
  const [asking, setAsking] = useState<Member | null>(null);
  const remove = useAction(async (id: string) => {
    await api.removeMember(org.id, id);
    setAsking(null);
    if (id !== me) members.reload();
    changed();
  });
  const give = useAction(async (id: string, to: Role) => {
    await api.changeRole(org.id, id, to);
    members.reload();
    if (id === me) changed();
  });
  const error = invite.error ?? revoke.error ?? give.error ?? members.error ?? invites.error;
  return (
    <div className={css.stack}>
      {members.data || members.error ? null : <Progress label="Loading the members" value={null} />}
      <ul className={css.list}>
        {(members.data?.items ?? []).map((one) => (
          <li key={one.id} className={css.item}>
            <div className={css.words}>
              {one.name ?? one.email}
              <p className={css.hint}>
                {one.name ? `${one.email} · ` : ""}
                {one.role}
                {one.id === me ? " · you" : ""}
              </p>
            </div>
            {rolesFor(org.role, one.role, one.id === me).length > 1 ? (
              <div className={css.role}>
                <SelectField
                  label={`Role of ${one.name ?? one.email}`}
                  labelHidden
                  options={rolesFor(org.role, one.role, one.id === me).map((value) => ({
                    value,
                    label: ROLE_NAMES[value],
                  }))}
                  value={one.role}
                  disabled={give.busy}
                  onChange={(to) => give.run(one.id, to)}
                />
              </div>
            ) : null}
            {one.id === me || mayManage(org.role, one.role) ? (
              <Button
                aria-label={one.id === me ? `Leave ${org.name}` : `Take out ${one.name ?? one.email}`}
                onClick={() => {
                  remove.clear();
                  setAsking(one);
                }}
              >
                {one.id === me ? "Leave" : "Take out"}
              </Button>
            ) : null}
          </li>
        ))}
        {(invites.data?.items ?? []).map((one) => (
          <li key={one.id} className={css.item}>
            <div className={css.words}>
              {one.email}
              <p className={css.hint}>
                invited as {one.role}, until {onDay(one.expires_at)}
              </p>
            </div>
            <Button
              aria-label={`Take back the invite of ${one.email}`}
              onClick={() => revoke.run(one.id)}
              busy={revoke.busy}
            >
              Take back
            </Button>
          </li>
        ))}
      </ul>
      {manages ? (
        <form
          className={css.row}
          onSubmit={(event) => {
            event.preventDefault();
            invite.run();
          }}
        >
          <TextField
            label="Invite by mail"
            type="email"
            value={email}
            required
            autoComplete="off"
            onChange={(event) => setEmail(event.target.value)}
          />
          <SelectField
            label="As"
            options={rolesToGive(org.role).map((value) => ({ value, label: ROLE_NAMES[value] }))}
            value={role}
            onChange={setRole}
          />
          <Button type="submit" busy={invite.busy}>
            Invite
          </Button>
        </form>
      ) : null}
      {error ? <Notice tone="bad">{errorText(error)}</Notice> : null}
      {asking ? (
        <Dialog
          title={asking.id === me ? `Leave ${org.name}?` : `Take ${asking.name ?? asking.email} out?`}
          onClose={() => setAsking(null)}
          actions={
            <>
              <Button onClick={() => setAsking(null)}>{asking.id === me ? "Stay" : "Keep"}</Button>
              <Button look="danger" onClick={() => remove.run(asking.id)} busy={remove.busy}>
                {asking.id === me ? "Leave" : "Take out"}
              </Button>
            </>
          }
        >
          <p>
            {asking.id === me
              ? "You no longer see its pictures and credits. Only a new invite brings you back."
              : "They no longer see its pictures and credits. What they made stays with the organisation."}
          </p>
          {remove.error ? <Notice tone="bad">{errorText(remove.error)}</Notice> : null}
        </Dialog>
      ) : null}
    </div>
  );
}
