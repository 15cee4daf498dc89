// What those who run an organisation do with it as a whole: another name, and its end.
import { useState } from "react";
import { errorText, fieldError } from "../../api/client";
import { orgs as api } from "../../api/endpoints";
import type { Org } from "../../api/types";
import { Button } from "../../ui/button";
import { Dialog } from "../../ui/dialog";
import { TextField } from "../../ui/field";
import { Notice } from "../../ui/notice";
import { useAction } from "../../ui/use-load";
import css from "./account.module.css";
import { meant } from "./org-name";

/** For an admin or an owner. */
export function RenameOrg({ org, renamed }: { org: Org; renamed: () => void }) {
  const [name, setName] = useState(org.name);
  const [said, setSaid] = useState<string | null>(null);
  const rename = useAction(async () => {
    setSaid(null);
    const changed = await api.rename(org.id, name.trim());
    setName(changed.name);
    setSaid(`It is called ${changed.name} now.`);
    renamed();
  });
  const wrongName = fieldError(rename.error, "name");
  return (
    <div className={css.stack}>
      <form
        className={css.row}
        onSubmit={(event) => {
          event.preventDefault();
          rename.run();
        }}
      >
        <TextField
          label="Name of the organisation"
          value={name}
          maxLength={80}
          required
          autoComplete="off"
          error={wrongName}
          onChange={(event) => setName(event.target.value)}
        />
        <Button type="submit" busy={rename.busy}>
          Rename
        </Button>
      </form>
      {rename.error && !wrongName ? <Notice tone="bad">{errorText(rename.error)}</Notice> : null}
      {said ? <Notice tone="good">{said}</Notice> : null}
    </div>
  );
}

/** For an owner. */
export function DeleteOrg({ org, deleted }: { org: Org; deleted: () => void }) {
  const [asking, setAsking] = useState(false);
  return (
    <>
      <div className={css.item}>
        <p className={css.words}>
          Deleting the organisation removes its pictures and links for good. Credits are gone with it.
        </p>
        <Button look="danger" aria-label={`Delete ${org.name}`} onClick={() => setAsking(true)}>
          Delete
        </Button>
      </div>
      {asking ? <DeleteDialog org={org} close={() => setAsking(false)} deleted={deleted} /> : null}
    </>
  );
}

function DeleteDialog({ org, close, deleted }: { org: Org; close: () => void; deleted: () => void }) {
  const [typed, setTyped] = useState("");
  const remove = useAction(async () => {
    await api.remove(org.id, org.name);
    deleted();
  });
  const others = org.members - 1;
  return (
    <Dialog
      title={`Delete ${org.name}?`}
      onClose={close}
      actions={
        <>
          <Button onClick={close}>Keep it</Button>
          <Button look="danger" disabled={!meant(typed, org.name)} onClick={remove.run} busy={remove.busy}>
            Delete it for good
          </Button>
        </>
      }
    >
      <ul className={css.points}>
        <li>
          {others === 0
            ? "Its API keys and shared links stop working at once."
            : `${others === 1 ? "Its other member is" : `Its ${others} other members are`} out at once, and its API keys and shared links stop working.`}
        </li>
        <li>Its photos, pictures and jobs are removed within minutes. Nobody can bring them back.</li>
        <li>The credits that it has are gone.</li>
        <li>
          If it pays for a plan, end that first, under Credits: while one runs, the organisation can’t be
          deleted.
        </li>
      </ul>
      <TextField
        label={`To confirm, type its name: ${org.name}`}
        value={typed}
        autoComplete="off"
        onChange={(event) => setTyped(event.target.value)}
      />
      {remove.error ? <Notice tone="bad">{errorText(remove.error)}</Notice> : null}
    </Dialog>
  );
}
