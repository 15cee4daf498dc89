// One creation in a list. Lists carry no URLs, so a card asks for its picture when it comes into sight, and
// only where the picture is light enough to load for a small view.
import { useCallback, useEffect, useRef, useState } from "react";
import { Link } from "react-router";
import { jobs } from "../../api/endpoints";
import type { Creation } from "../../api/types";
import { Button } from "../../ui/button";
import { fileSize, when } from "../../ui/format";
import { PhotoIcon } from "../../ui/icons";
import { useLoad } from "../../ui/use-load";
import { mainPicture, settingsText, smallPicture } from "../job/job-view";
import css from "./creations.module.css";

interface CreationCardProps {
  creation: Creation;
  onDelete?: (creation: Creation) => void;
}

export function CreationCard({ creation, onDelete }: CreationCardProps) {
  const card = useRef<HTMLLIElement>(null);
  const [near, setNear] = useState(false);
  const [broken, setBroken] = useState(false);
  const small = smallPicture(creation.artifacts);
  const main = mainPicture(creation.artifacts);

  useEffect(() => {
    if (!card.current || near) return;
    const observer = new IntersectionObserver(
      (entries) => {
        if (entries.some((entry) => entry.isIntersecting)) setNear(true);
      },
      { rootMargin: "200px" },
    );
    observer.observe(card.current);
    return () => observer.disconnect();
  }, [near]);

  const load = useCallback((signal: AbortSignal) => jobs.get(creation.job_id, signal), [creation.job_id]);
  const { data } = useLoad(near && small ? load : null);
  const url = data ? smallPicture(data.artifacts)?.url : null;
  const name = settingsText(creation.params);

  return (
    <li ref={card} className={css.card}>
      <Link className={css.open} to={`/jobs/${creation.job_id}`}>
        <span className={css.thumb}>
          {url && !broken ? (
            <img src={url} alt="" loading="lazy" decoding="async" onError={() => setBroken(true)} />
          ) : (
            <PhotoIcon size={34} />
          )}
        </span>
        <span className={css.name}>{name}</span>
        <span className={css.facts}>
          {when(creation.created_at)}
          {main ? ` · ${fileSize(main.bytes)}` : ""}
        </span>
      </Link>
      {onDelete ? (
        <Button
          look="quiet"
          className={css.delete}
          onClick={() => onDelete(creation)}
          aria-label={`Delete “${name}” of ${when(creation.created_at)}`}
        >
          Delete
        </Button>
      ) : null}
    </li>
  );
}
